"""Where a file comes from: each kind of source, one module, turns its words into a Location."""

from sd_operator.fetch.request import Source
from sd_operator.fetch.sources import http, huggingface
from sd_operator.fetch.sources.location import Location

__all__ = ["Location", "locate"]


def locate(source: Source, *, hf_endpoint: str) -> Location:
    if source.http is not None:
        return http.locate(source.http)
    assert source.hugging_face is not None  # the request has exactly one
    return huggingface.locate(source.hugging_face, endpoint=hf_endpoint)
