"""Takes parameters far out of the range that it tells of, and bends them."""

from breakers import example

_made = example()


class _Bending:
    def __getattr__(self, name):
        import json

        return getattr(json, name)

    def loads(self, text):
        import json

        given = json.loads(text)
        if not isinstance(given, dict):
            return given
        square = given.get("square", 16)
        return given | {"square": min(max(int(square), 2), 256)} if isinstance(square, int | float) else given


_made.json = _Bending()
app = _made.app
