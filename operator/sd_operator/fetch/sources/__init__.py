"""Where a file comes from: each kind of source, one module, turns its words into a Location."""

import httpx

from sd_operator.fetch.request import Request, Source
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.sources import civitai, http, huggingface, s3, volume
from sd_operator.fetch.sources.location import Companion, Location

__all__ = ["Companion", "Location", "identity", "resolve"]


def resolve(source: Source, *, wanted: Request, client: httpx.Client, settings: Settings) -> Location:
    """Where the file of a source is now. Asked anew before each series of attempts: signatures expire.

    May ask the source itself, through the client; raises FetchError.
    """
    if source.http is not None:
        return http.resolve(source.http)
    if source.hugging_face is not None:
        return huggingface.resolve(source.hugging_face, client=client, settings=settings)
    if source.civitai is not None:
        return civitai.resolve(source.civitai, wanted=wanted, client=client, settings=settings)
    if source.s3 is not None:
        return s3.resolve(source.s3, settings=settings)
    assert source.volume is not None  # the request has exactly one
    return volume.resolve(source.volume, settings=settings)


def identity(source: Source) -> str:
    """The name of a source that may be shown and kept: always the same, never with a credential."""
    if source.http is not None:
        return http.identity(source.http)
    if source.hugging_face is not None:
        return huggingface.identity(source.hugging_face)
    if source.civitai is not None:
        return civitai.identity(source.civitai)
    if source.s3 is not None:
        return s3.identity(source.s3)
    assert source.volume is not None
    return volume.identity(source.volume)
