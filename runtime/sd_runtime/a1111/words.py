"""A request's prompts: what is told of them afterwards, and what the engine draws. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from sd_runtime.a1111.option_values import Values
from sd_runtime.errors import UnsupportedError
from sd_runtime.prompt import comments, extra_networks
from sd_runtime.prompt.extra_networks import Mention
from sd_runtime.prompt.styles import Styles

_NONE = "None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A pair of prompts, and the extra networks that the first one names."""

    #: With styles and extra networks, without comments: what infotext says.
    prompt: str
    negative_prompt: str
    #: Without extra networks: what the engine encodes.
    drawn: str
    drawn_negative: str
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How the prompts of one request are read."""

    styles: Styles
    #: Of the styles to apply.
    names: Sequence[str]
    options: Values
    leave_out_networks: bool

    def read(self, prompt: str, negative_prompt: str, *, prefix: str = "") -> Words:
        """Styles applied, comments and extra networks taken out; `prefix` is that of the fields' names.

        Raises `UnsupportedError` for a style and a kind of network that there is not. What else is in the
        prompts is judged with the task that they become part of.
        """
        names = [name for name in self.names if name.strip()]
        prompt, negative_prompt = self.styles.apply(prompt, negative_prompt, names)
        if self.options.prompt_comments:
            prompt, negative_prompt = comments.strip(prompt), comments.strip(negative_prompt)
        drawn, mentions = extra_networks.split(prompt, field=f"{prefix}prompt")
        drawn_negative, misplaced = extra_networks.split(negative_prompt, field=f"{prefix}negative_prompt")
        if self.leave_out_networks:
            mentions = ()
        elif misplaced:
            # A1111 takes them for text there, which nobody means.
            allowed = f"extra networks in {prefix}prompt only"
            raise UnsupportedError(f"{prefix}negative_prompt", misplaced[0].written, allowed)
        else:
            added = self._of_options(mentions)
            prompt = "".join((prompt, *(each.written for each in added)))
            mentions = (*mentions, *added)
        return Words(
            prompt=prompt,
            negative_prompt=negative_prompt,
            drawn=drawn,
            drawn_negative=drawn_negative,
            mentions=mentions,
        )

    def _of_options(self, mentioned: Sequence[Mention]) -> list[Mention]:
        """The networks that options name; they are written behind the prompt, as in A1111, so that infotext
        tells of them. One that the prompt names itself is left at that."""
        return [
            Mention(kind=kind, name=name, unet=1.0, text=1.0, rank=None, written=f"<{kind}:{name}:1>")
            for kind, name in (
                (extra_networks.LORA, self.options.lora),
                (extra_networks.HYPERNET, self.options.hypernetwork),
            )
            if name != _NONE and not any(each.kind == kind and each.name == name for each in mentioned)
        ]
