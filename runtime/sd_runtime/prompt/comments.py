"""A1111's prompt comments: from a `#` to the end of its line. Pure text."""


def strip(prompt: str) -> str:
    """The prompt without comments; a line that is nothing but one goes as a whole."""
    if "#" not in prompt:
        return prompt
    kept = []
    for line in prompt.split("\n"):
        text, mark, _ = line.partition("#")
        if text or not mark:
            kept.append(text)
    return "\n".join(kept)
