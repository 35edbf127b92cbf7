"""Which addresses a client may have this server connect to: those of the public Internet, and no other. Pure.

A request names a host freely, and the server stands where the client does not: an address must not lead to
the server itself, to its cluster or its local network, nor to a cloud's metadata.
"""

import ipaddress
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Services of clouds that hand out credentials at addresses that are not private: Azure's, Oracle's older
#: one.
_METADATA = frozenset(ipaddress.ip_address(each) for each in ("168.63.129.16", "192.0.0.192"))
#: NAT64 (RFC 6052): the last 32 bits are an IPv4 address; how hosts of IPv4 are reached from an IPv6 cluster.
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
#: What leads to another address than it seems to, in ways that nobody needs today: NAT64 within an
#: organisation (RFC 8215), 6to4 and the relay to it, Teredo, those "compatible" with IPv4 and those
#: translated from it (SIIT, RFC 2765). And what is for documentation (RFC 9637) and segment routing
#: (RFC 9602), which `ipaddress` may be too old to know.
_DISGUISES = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("64:ff9b:1::/48", "2002::/16", "192.88.99.0/24", "2001::/32", "::/96", "::ffff:0:0:0/96"),
        *("3fff::/20", "5f00::/16"),
    )
)
#: ISATAP (RFC 5214): the middle of an address whose last 32 bits are an IPv4 address; the bit that tells
#: whether that is a public one is left out.
_ISATAP, _ISATAP_MASK = 0x00005EFE << 32, 0xFDFFFFFF << 32
#: Names that only a cluster's or a home's own resolver knows.
_LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".svc", ".home.arpa", ".lan")


def complaint(text: str) -> str | None:
    """What an address is, in words, when it may not be connected to; None when it may."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return next((found for form in _forms(address) if (found := _kind(form))), None)


def complaint_of_name(host: str) -> str | None:
    """The same for a host's name as it is written, before it is looked up."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(_LOCAL_ENDINGS):
        return "a name within a local network"
    return None


def _forms(address: Address) -> Iterator[Address]:
    """The address that packets to it go to in the end."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
            return
        if address in _TRANSLATED:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
            return
    yield address


def _kind(address: Address) -> str | None:
    if address in _METADATA:
        return "the metadata service of a cloud"
    if address.is_loopback or address.is_unspecified:
        return "an address of the server itself"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if any(address in network for network in _DISGUISES):
        return "a reserved address"
    if isinstance(address, ipaddress.IPv6Address) and (
        address.is_site_local or int(address) & _ISATAP_MASK == _ISATAP
    ):
        return "a reserved address"
    return None if address.is_global else "a private or reserved address"
