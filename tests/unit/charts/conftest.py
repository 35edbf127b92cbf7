"""Makes what the tests of charts share importable: rendering by Helm, and schemas of manifests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
