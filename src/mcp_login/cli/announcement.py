"""Who asks for what: told before a person is sent, for the first time, to log in at another site than the server's.

The specification has any server name any authorization server, so a login can lead to a page of somebody else. Mostly that is
right (a company's single sign-on), and the names tell. It is told, not asked: nothing is granted before the person approves at
the authorization server, and until then Ctrl-C ends the login.

Where the page is on another site than the issuer, that is told at every login: which page it was is not kept.

Two hosts are of one site if they are equal, or have the same registrable domain by the public suffix list
(publicsuffix.org, its private part included: two tenants of one hosting service are two sites). IP addresses, and names of this
machine (localhost), are of one site only if they are equal. Ports don't count.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import sys
import textwrap
from typing import TYPE_CHECKING

from mcp_login.errors import PolicyError, StorageError, printable, without_query
from mcp_login.protocol.uri import origin

from .screen import styled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from publicsuffixlist import PublicSuffixList

    from mcp_login import AuthorizationUrl

__all__ = ["announcement", "host_shown", "is_own_page", "known_issuers", "same_site"]

#: The most columns of a line, and the most lines of scopes.
WIDTH = 80
MOST_LINES = 8

#: To how many characters a scope is cut where not all can be shown whole: long ones are no place to hide others behind.
_CUT_SCOPE = 32

#: A last label that makes a host an IPv4 address (WHATWG URL standard, "ends in a number").
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_OFFLINE_ACCESS = "offline_access: the login stays, also while you are away"


def announcement(url: AuthorizationUrl, known: Callable[[], Collection[tuple[str, str]]]) -> str | None:
    """What to tell the person before `url` is opened, in several lines; None where there is nothing to tell.

    `known` gives the hosts of servers with the issuers of earlier logins there. It is asked only where the sites differ.
    """
    resource, issuer, page = (_authority(address) for address in (url.server_url, url.issuer, url))
    readable = all(_is_readable(address) for address in (url.server_url, url.issuer, url))
    if readable and same_site(_host(resource), _host(issuer)) and same_site(_host(resource), _host(page)):
        return None
    # Another server may name an issuer that is known from a server that is trusted.
    is_known = (_host(resource), url.issuer) in known()
    if is_known and readable and is_own_page(_host(page), _host(issuer)):
        return None
    rows = [
        ("resource", [printable(without_query(url.resource or url.server_url))]),
        ("issuer", [host_shown(issuer)]),
    ]
    if _host(page) != _host(issuer):
        rows.append(("login page", [host_shown(page)]))
    rows.append(("scopes", _scopes(url.scopes)))
    return "\n".join(
        [
            styled(
                f"{host_shown(resource)} sends you to another site to log in{'' if is_known else ', for the first time'}:",
                sys.stderr,
                bold=True,
            ),
            "",
            *(line for name, values in rows for line in _row(name, values)),
            "",
            "Approve only if you expect these names. Ctrl-C ends the login.",
            "",
        ]
    )


def is_own_page(page: str, issuer: str) -> bool:
    """Whether what was approved at an issuer's host says anything of the page to which that issuer now leads."""
    return same_site(issuer, page)


def same_site(host: str, other: str) -> bool:
    """Whether two hosts, without ports, are of one site. Two that can't be told to be are not."""
    one, two = (name.rstrip(".").lower() for name in (host, other))
    if one == two:
        return True
    if any(_stands_alone(name) for name in (one, two)):
        return False
    try:
        suffixes = _suffixes()
    except ModuleNotFoundError:
        return False
    site = suffixes.privatesuffix(one)
    return site is not None and site == suffixes.privatesuffix(two)


def host_shown(authority: str) -> str:
    """A host and its port fit to be shown: as the network knows it, and an international name as it reads, too.

    The xn-- form comes first: letters of another script that look like Latin ones show in it.
    """
    host, port = _host(authority), authority[len(_host(authority)) :]
    if not host.isascii() or "xn--" in host:
        import idna

        try:
            ascii_form, reads = idna.encode(host).decode("ascii"), idna.decode(host)
        except (idna.IDNAError, UnicodeError):
            return printable(ascii(host)[1:-1] + port)
        return printable(f"{ascii_form}{port} ({reads})")
    return printable(authority)


def known_issuers() -> frozenset[tuple[str, str]]:
    """The hosts and issuers of the logins that are stored on this machine; none where the list can't be read."""
    from mcp_login.storage.index import Index

    try:
        return frozenset((_host(_authority(entry.server_url)), entry.issuer) for entry in Index().entries())
    except StorageError:
        return frozenset()


@functools.cache
def _suffixes() -> PublicSuffixList:
    # Its list takes a while to read, and most servers are their own authorization servers.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


def _scopes(scopes: Collection[str]) -> list[str]:
    if not scopes:
        return ["none in particular"]
    shown = [printable(scope, 2000) for scope in scopes]
    lines = _in_lines(shown)
    if len(lines) > MOST_LINES:
        lines = _in_lines(_cut(scope) for scope in shown)
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"and more: {len(scopes)} in all"]
    if "offline_access" in scopes:
        lines.append(_OFFLINE_ACCESS)
    return lines


def _in_lines(scopes: Iterable[str]) -> list[str]:
    return textwrap.wrap(" ".join(scopes), WIDTH - _MARGIN, break_on_hyphens=False) or ["none that can be shown"]


def _cut(scope: str) -> str:
    """What a scope is good for often stands at its end, behind a URL that all have in common."""
    half = _CUT_SCOPE // 2
    return scope if len(scope) <= _CUT_SCOPE else f"{scope[: half - 1]}…{scope[-half:]}"


_NAME_WIDTH = len("login page")
_MARGIN = 2 + _NAME_WIDTH + 2


def _row(name: str, values: list[str]) -> list[str]:
    names = [name, *[""] * (len(values) - 1)]
    return [f"  {label:<{_NAME_WIDTH}}  {value}" for label, value in zip(names, values, strict=True)]


def _authority(url: str) -> str:
    """Host and port of `url`, without anything before an "@"."""
    if _is_readable(url):
        return origin(url).partition("://")[2]
    # Cut by hand: `urlsplit` raises for some that can't be read, and those have to be shown, too.
    return re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2].lower()


def _is_readable(url: str) -> bool:
    """Whether all parsers agree about the host of `url`."""
    try:
        origin(url)
    except PolicyError:
        return False
    return True


def _host(authority: str) -> str:
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]


def _stands_alone(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return True  # browsers read any of these as an IPv4 address: 127.1, 0x7f000001
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
