"""The way to the sources: one HTTP client, that connects to checked addresses only.

`open_client` makes it; `failing` turns what goes wrong on it into FetchErrors.
"""

from sd_operator.fetch.network.client import open_client
from sd_operator.fetch.network.failing import failing

__all__ = ["failing", "open_client"]
