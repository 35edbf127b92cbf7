"""What all that break the contract are made of: the example, which keeps it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from anyio import to_thread


async def _in_thread(call: Any, *given: Any, cancellable: bool) -> Any:
    return await to_thread.run_sync(call, *given, abandon_on_cancel=cancellable)


_EXAMPLE = Path(__file__).parents[4] / "examples" / "plugin" / "pixelate.py"


def example() -> ModuleType:
    """The example's module, for one to change."""
    spec = importlib.util.spec_from_file_location("pixelate", _EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Its runs in threads: what the breakers change is not there in a process.
    module.to_process = SimpleNamespace(run_sync=_in_thread)
    module.PLUGIN["limits"]["seconds"] = 1.0
    return module
