"""Says its control types under a key that nobody reads."""

from breakers import example

_made = example()
_made.MODULE["control_types"] = ["Tile"]
app = _made.app
