"""Which addresses a fetch may connect to. Pure.

What is named in a bundle is fetched with the reach of a pod of the cluster: an address must not lead to the
pod itself, the node's services, the metadata of the cloud, or the cluster's own networks. Private networks
are where people keep their models, and are allowed unless the settings refuse them.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Services that hand a machine's credentials to whoever asks from it: the one that AWS, Google, Azure,
# OpenStack and others share; AWS over IPv6, its containers' and its EKS pods'; Google over IPv6; Alibaba;
# Azure's agent; Oracle's older one.
_METADATA = frozenset(
    ipaddress.ip_address(each)
    for each in (
        "169.254.169.254",
        "fd00:ec2::254",
        "169.254.170.2",
        "169.254.170.23",
        "fd00:ec2::23",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    )
)
# Names of such services, for a proxy that would look them up where they can be reached.
_METADATA_NAMES = re.compile(
    r"metadata(?:\.google\.internal|\.goog|\.tencentyun\.com)?"
    # AWS: of the first region, and of another.
    r"|instance-data(?:\.(?:ec2|[a-z0-9-]+\.compute)\.internal)?"
)

# Linux takes all of it for the machine itself.
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
# Forms of IPv6 that stand for an IPv4 address in their last 32 bits: NAT64 (RFC 6052), and the deprecated
# "compatible" ones.
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")
# NAT64 within an organisation (RFC 8215): where in it the IPv4 address lies cannot be told.
_LOCAL_TRANSLATED = ipaddress.ip_network("64:ff9b:1::/48")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the settings say: networks that may be connected to although they would be refused; more that
    may not."""

    allowed: tuple[Network, ...] = ()
    refused: tuple[Network, ...] = ()

    def complaint(self, address: Address) -> str | None:
        """What an address is, in words, when it may not be connected to; None when it may."""
        forms = tuple(_forms(address))
        # Whoever allows a large network has not thought of the one address in it that gives credentials away.
        if any(form in _METADATA for form in forms):
            alone = (network for network in self.allowed if network.num_addresses == 1)
            return None if _within(forms, alone) else "the metadata service of a cloud"
        if _within(forms, self.allowed):
            return None
        if _within(forms, self.refused):
            return "an address of a network that the operator's settings refuse"
        # Of an address that stands for another one, only the other one has a meaning.
        return _kind(forms[-1])

    def complaint_of_host(self, host: str) -> str | None:
        """The same for a host as it is written, where somebody else looks it up."""
        name = host.rstrip(".").lower()
        address = literal(name)
        if address is not None:
            return self.complaint(address)
        if name == "localhost" or name.endswith(".localhost"):
            return self.complaint(ipaddress.ip_address("127.0.0.1"))
        return "the metadata service of a cloud" if _METADATA_NAMES.fullmatch(name) else None


def literal(host: str) -> Address | None:
    """The address that a host is itself, also in the old ways to write one (127.1, 0x7f000001); or None."""
    bare = host.strip("[]").partition("%")[0]
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(bare))
    except (OSError, UnicodeError):
        return None


def _forms(address: Address) -> Iterator[Address]:
    """The address, then the one that packets to it go to in the end, if that is another one."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    # Without the scope: fe80::1%eth0 is no other kind of address than fe80::1.
    plain = ipaddress.IPv6Address(int(address))
    yield plain
    inner = plain.ipv4_mapped or plain.sixtofour or (plain.teredo or (None, None))[1]
    if inner is not None:
        yield inner
    elif plain in _TRANSLATED or (plain in _COMPATIBLE and int(plain) > 0xFFFF):
        yield ipaddress.IPv4Address(int(plain) & 0xFFFFFFFF)


def _within(forms: Iterable[Address], networks: Iterable[Network]) -> bool:
    known = tuple(networks)
    return any(form in network for form in forms for network in known if form.version == network.version)


def _kind(address: Address) -> str | None:
    if address.is_unspecified or address in _THIS_NETWORK:
        return "no address of another machine"
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if address in _LOCAL_TRANSLATED:
        return "an address that stands for an unknown one"
    return "a reserved address" if address.is_reserved else None
