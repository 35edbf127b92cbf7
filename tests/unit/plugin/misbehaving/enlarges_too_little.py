"""An upscaler whose pictures are not as large as it says."""

from breakers import example

_made = example()
_made.PLUGIN["kind"] = "Upscaler"
_made.MODULE["factor"] = 2
app = _made.app
