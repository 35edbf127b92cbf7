"""A plain web address."""

from urllib.parse import unquote, urlsplit

from sd_operator.fetch.request import Http
from sd_operator.fetch.sources.location import Location, shown


def identity(source: Http) -> str:
    return shown(source.url)


def resolve(source: Http) -> Location:
    name = unquote(urlsplit(source.url).path.rpartition("/")[2])
    return Location(url=source.url, identity=identity(source), file_name=name)
