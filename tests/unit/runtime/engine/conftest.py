"""Makes the hand-written parts of this folder importable; nothing else is shared between the tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
