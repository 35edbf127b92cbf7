"""Every run is answered with 200 and what is no archive."""

from breakers import example

_made = example()
_made.pixelate = lambda body: b"rubbish" * 10
app = _made.app
