"""Which requests go through a proxy: what HTTP_PROXY, HTTPS_PROXY and NO_PROXY mean. Pure."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from sd_operator.fetch.network import addresses

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """Addresses of proxies by the scheme that is asked for, and what is reached without one."""

    http: str | None = None
    https: str | None = None
    none_for: Sequence[str] = ()

    def of(self, scheme: str, host: str, port: int | None) -> str | None:
        """The address of the proxy for a host; None: without one."""
        proxy = self.https if scheme == "https" else self.http
        if proxy is None:
            return None
        at = port if port is not None else _DEFAULT_PORTS[scheme]
        return None if any(_covers(rule, host, at) for rule in self.none_for) else proxy


def _covers(rule: str, host: str, port: int) -> bool:
    """A rule is `*`, a host with all below it, an address, or a network; a port may follow."""
    if rule == "*":
        return True
    name, at = _split(rule.lower())
    if at is not None and at != port:
        return False
    address = addresses.literal(host)
    if address is not None:
        try:
            network = ipaddress.ip_network(name, strict=False)
        except ValueError:
            return False
        return address.version == network.version and address in network
    domain = name.removeprefix("*").strip(".")
    plain = host.lower().rstrip(".")
    return bool(domain) and (plain == domain or plain.endswith(f".{domain}"))


def _split(rule: str) -> tuple[str, int | None]:
    """The port that follows a host, an IPv4 address, or an IPv6 one in brackets."""
    name, colon, port = rule.rpartition(":")
    if colon and port.isdigit() and (name.endswith("]") or ":" not in name):
        return name.strip("[]"), int(port)
    return rule.strip("[]"), None
