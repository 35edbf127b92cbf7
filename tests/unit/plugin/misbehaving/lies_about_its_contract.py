"""Tells a number of a contract that is not there yet."""

from breakers import example

_made = example()
_made.PLUGIN["contract"] = 2
app = _made.app
