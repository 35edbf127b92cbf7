"""A plain web address."""

from urllib.parse import unquote, urlsplit

from sd_operator.fetch.request import Http
from sd_operator.fetch.sources.location import Location, shown


def locate(source: Http) -> Location:
    name = unquote(urlsplit(source.url).path.rpartition("/")[2])
    return Location(url=source.url, identity=shown(source.url), file_name=name)
