"""Where a job stands, and what went wrong, as HTML. Pure."""

import base64
import html

from sd_page import words
from sd_page.following import Standing


def handing_in(language: words.Language) -> str:
    """Before the interface has the job."""
    return f"<p>{words.sentence(language, 'handing_in')}</p>"


def shown(language: words.Language, standing: Standing) -> str:
    """A bar with a sentence below it, and the preview if there is one."""
    percent = round(100 * standing.progress)
    told = html.escape(sentence_of(language, standing))
    bar = (
        '<div class="sd-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{percent}" aria-valuetext="{told}"'
        f' aria-label="{words.sentence(language, "progress")}"><div style="width: {percent}%"></div></div>'
    )
    return f"{bar}<p>{told}</p>{_preview(language, standing)}"


def sentence_of(language: words.Language, standing: Standing) -> str:
    """Place in the queue or step, and the time that is left."""
    if standing.state == "queued" and standing.position:
        told = words.sentence(language, "waiting", position=standing.position)
    elif standing.step == 0:
        told = words.sentence(language, "starting")
    elif standing.step < standing.steps:
        told = words.sentence(language, "step", step=standing.step, steps=standing.steps)
    else:
        told = words.sentence(language, "finishing")
    if standing.eta is None:
        return told
    return f"{told} · {words.sentence(language, 'eta', seconds=max(1, round(standing.eta)))}"


def told(text: str) -> str:
    """A sentence at the end."""
    return f'<p role="status">{html.escape(text)}</p>'


def alert(text: str) -> str:
    """What went wrong and belongs to no field."""
    return f'<div role="alert">{html.escape(text)}</div>'


def _preview(language: words.Language, standing: Standing) -> str:
    if standing.preview is None:
        return ""
    data = base64.b64encode(standing.preview).decode("ascii")
    return f'<img alt="{words.sentence(language, "preview")}" src="data:image/png;base64,{data}">'
