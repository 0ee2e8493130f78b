"""Which URLs and addresses a login may reach.

A server names other servers (its authorization server, that one's endpoints), and names resolve to addresses. Both are
a stranger's input: they may not lead from a public server into private networks, nor from a private one into this
machine (RFC 9728 section 7.7).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit

from mcp_login.errors import PolicyError, printable
from mcp_login.protocol.uri import origin

__all__ = ["AddressSpace", "NetworkPolicy", "address_space", "space_of_host"]


class AddressSpace(IntEnum):
    """Who can reach an address: the higher, the fewer. A server may lead to its own space or a lower one.

    LINK_LOCAL: only machines on the same link, and the services that a cloud gives each of its machines.
    """

    PUBLIC = 0
    PRIVATE = 1
    LINK_LOCAL = 2
    LOOPBACK = 3

    @property
    def word(self) -> str:
        """It in a message."""
        return self.name.lower().replace("_", "-")


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Prefixes whose last 32 bits are the IPv4 address that is reached in the end: mapped (RFC 4291 section 2.5.5.2),
#: compatible (2.5.5.1, deprecated), translated (RFC 2765), NAT64 (RFC 6052 section 2.1).
_IPV4_IN_LAST_BITS = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
#: All that IANA hands out as global unicast (RFC 4291 section 2.4); everything else is somebody's own network.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: Not global, whatever some versions of `ipaddress` say: documentation (RFC 9637), IETF protocol assignments (RFC 6890).
_NOT_GLOBAL = (ipaddress.IPv6Network("3fff::/20"), ipaddress.IPv4Network("192.0.0.0/24"))
#: What a cloud's host gives the machines on it, credentials among it, at addresses that don't look link-local: Azure,
#: Oracle, Alibaba, AWS (two), Google, Scaleway. (The one that they share, 169.254.169.254, is.)
_PLATFORM = frozenset(
    map(
        ipaddress.ip_address,
        (
            "168.63.129.16",
            "192.0.0.192",
            "100.100.100.200",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:42::42",
        ),
    )
)
#: NAT64 of a site's own (RFC 8215): where in it the IPv4 address is, the site decides; mostly in the last bits.
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
#: An ISATAP interface identifier, but for the bit that says "unique" (RFC 5214 section 6.1).
_ISATAP = 0x00005EFE
#: "This host on this network" (RFC 1122 section 3.2.1.3): Linux connects to itself.
_THIS_HOST = ipaddress.IPv4Network("0.0.0.0/8")


def address_space(ip: str) -> AddressSpace:
    """The space of the literal address `ip`, judged by the IPv4 address inside where an IPv6 address carries one.

    Raises `ValueError` if `ip` is not an address.
    """
    return _space(ipaddress.ip_address(ip.partition("%")[0]))


def _space(address: _Address) -> AddressSpace:
    if address.is_loopback or address.is_unspecified:
        return AddressSpace.LOOPBACK
    if isinstance(address, ipaddress.IPv6Address):
        inner = _ipv4_inside(address)
        if inner is not None:
            return _space(inner)
        tunnelled = _ipv4_tunnelled_to(address)
        return _own_space(address) if tunnelled is None else max(_own_space(address), _space(tunnelled))
    return AddressSpace.LOOPBACK if address in _THIS_HOST else _own_space(address)


def _own_space(address: _Address) -> AddressSpace:
    """By the ranges that IANA keeps, as `ipaddress` has them, and the few that it hasn't."""
    if address.is_link_local or address in _PLATFORM:
        return AddressSpace.LINK_LOCAL
    is_local = isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST
    # `is_global` alone takes multicast for global.
    if is_local or address.is_multicast or not address.is_global or any(address in net for net in _NOT_GLOBAL):
        return AddressSpace.PRIVATE
    return AddressSpace.PUBLIC


def _ipv4_inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _IPV4_IN_LAST_BITS):
        return _last_bits(address)
    return None


def _ipv4_tunnelled_to(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is reached in the end if the network does what its addresses were made for, or None."""
    is_isatap = (int(address) >> 32) & 0xFDFFFFFF == _ISATAP
    return _last_bits(address) if is_isatap or address in _LOCAL_NAT64 else None


def _last_bits(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def space_of_host(host: str) -> AddressSpace | None:
    """The space that the name `host` tells by itself, or None if it has to be resolved.

    A literal address, in any spelling that resolvers take, or a localhost name.
    """
    name = host.partition("%")[0].rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3
        return AddressSpace.LOOPBACK
    try:
        return address_space(name)
    except ValueError:
        pass
    # 127.1, 0x7f.0.0.1, 2130706433: getaddrinfo takes them, and so does a proxy.
    if re.fullmatch(r"[0-9a-fx.]+", name):
        try:
            return address_space(socket.inet_ntoa(socket.inet_aton(name)))
        except OSError:
            pass
    return None


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """Which URLs and addresses a login may reach.

    `allow_private_network` is for intranets and tests: any server may lead to private and loopback addresses, and plain
    http is allowed there (never to a public address).
    """

    allow_private_network: bool = False

    def check_url(self, url: str, *, floor: AddressSpace) -> None:
        """Refuse a URL for what can be seen in it, before any name is resolved.

        `floor` is the space of the server that led here. https only, http only to loopback; nothing that parsers could read
        in two ways; no literal address or localhost name of a higher space than `floor`. Raises `PolicyError`.
        """
        # The one parser that judges URLs, so that nothing is a host here and another one there.
        scheme, _, authority = origin(url).partition("://")
        host = authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
        space = space_of_host(host)
        if scheme == "http":
            self._check_plain(space, url)
        if space is not None:
            self._check_space(space, host, floor, url)

    def check_address(self, ip: str, *, floor: AddressSpace, url: str) -> None:
        """Refuse the address `ip` that the host of `url` resolved to, on the connection that is about to be made.

        Raises `PolicyError` if its space is higher than `floor`, or if `url` is plain http and `ip` is not loopback.
        """
        space = address_space(ip)
        self._check_space(space, ip, floor, url)
        needed = AddressSpace.PRIVATE if self.allow_private_network else AddressSpace.LOOPBACK
        if space < needed and urlsplit(url).scheme == "http":
            raise PolicyError(
                f"{_shown(url)} is refused: it is plain http, and its address {printable(ip, 60)} is a "
                f"{space.word} one. Use https."
            )

    def _check_plain(self, space: AddressSpace | None, url: str) -> None:
        if space is AddressSpace.PUBLIC:
            raise PolicyError(f"{_shown(url)} is refused: plain http is never spoken to a public address. Use https.")
        if space is not AddressSpace.LOOPBACK and not self.allow_private_network:
            raise PolicyError(
                f"{_shown(url)} is refused: plain http is only for loopback addresses. Use https; where this network "
                "is trusted, allow it with allow_private_network=True."
            )

    def _check_space(self, space: AddressSpace, address: str, floor: AddressSpace, url: str) -> None:
        if space <= floor or self.allow_private_network:
            return
        raise PolicyError(
            f"{_shown(url)} is refused: a {floor.word} server led to it, but {printable(address, 60)} is a "
            f"{space.word} address. Check the URL of the server; where this network is trusted, allow it with "
            "allow_private_network=True."
        )


def _shown(url: str) -> str:
    """Scheme, host and port of `url`. Paths and queries are a stranger's or a person's own words: not shown."""
    parts = urlsplit(url)
    return printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", 120)
