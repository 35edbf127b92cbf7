"""What the person at the terminal is told while a folder is imported: lines on a stream, and their count."""

from pathlib import Path
from typing import TextIO


def shown(text: object) -> str:
    """The text on one line, with whatever a terminal or a YAML comment cannot show escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in str(text)
    )


class Report:
    """Paths are told relative to the folder that is imported."""

    def __init__(self, root: Path, stream: TextIO) -> None:
        self._root = root
        self._stream = stream
        self.count_left_out = 0

    def left_out(self, path: Path, why: str) -> None:
        """A file or folder that the bundle will not have."""
        self.count_left_out += 1
        self.say(f"left out: {self._relative(path)}: {why}")

    def note(self, path: Path, what: str) -> None:
        """A file that the bundle has, though not just as it lies there."""
        self.say(f"note: {self._relative(path)}: {what}")

    def say(self, line: str) -> None:
        """A line of its own."""
        self._stream.write(shown(line) + "\n")
        self._stream.flush()

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else str(path)
