"""Answers runs of a module that is not available with another status than it must."""

from breakers import example

_made = example()
_made.PLUGIN["modules"] = [
    _made.MODULE,
    {"name": "absent", "label": "Absent", "available": False, "reason": "absent.pth is missing."},
]
app = _made.app
