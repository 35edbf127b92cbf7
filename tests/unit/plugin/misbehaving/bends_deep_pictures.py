"""Takes PNG files of 16 bits, and makes 8 of them."""

from breakers import example

_made = example()


def _picture(data, usual=_made.read_picture):
    if data.startswith(b"\x89PNG") and data[24] == 16:
        return _made.Image.open(_made.BytesIO(data)).convert("RGB")
    return usual(data)


_made.read_picture = _picture
app = _made.app
