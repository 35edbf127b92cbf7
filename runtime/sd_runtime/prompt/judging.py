"""Whether a prompt can be drawn at all, as far as that is known without a model: so that a request is refused
before it waits. What only tokens tell (the number of chunks of a long text) is left to `encoding`. No torch.
"""

from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt import chunks, grammar, schedule

#: Of a prompt with its styles.
MAX_CHARACTERS = 65_536


def judge(field: str, prompt: str, steps: int, *, second_pass: int | None = None) -> None:
    """Raise `UnsupportedError` about `field` for a prompt that exceeds a limit.

    Comments and extra networks are to be out of it. A field whose name ends in negative_prompt is read as a
    negative prompt is; `second_pass` as in `schedule.compose`.
    """
    if len(prompt) > MAX_CHARACTERS:
        raise UnsupportedError(field, f"{len(prompt)} characters", f"at most {MAX_CHARACTERS} characters")
    composition = schedule.compose(
        prompt, steps, second_pass=second_pass, negative=field.endswith("negative_prompt"), field=field
    )
    for text in composition.texts():
        fragments = grammar.parse(text, field=field)
        # Every chunk but the first that is certain to be there.
        breaks = sum(fragment.text is None for fragment in fragments)
        chunks.demand_few(field, breaks + 1)
