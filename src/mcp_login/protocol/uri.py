"""URIs of servers and resources: canonical form, origin, containment (RFC 3986, RFC 8707 section 2).

Standard library only: the warm path loads it. URLs are cut by the pattern of RFC 3986 appendix B and stay verbatim
otherwise: `urllib.parse.urlsplit` removes line ends and tabs in silence, and forgets an empty query or fragment.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from mcp_login.errors import PolicyError, printable

__all__ = [
    "MAX_READ_URL",
    "MAX_SENT_URL",
    "canonical_resource",
    "is_loopback_url",
    "is_within",
    "origin",
    "repr_without_queries",
    "require_secure",
]

#: The longest URL, in characters, that is sent for, stored, or given to a browser. RFC 9110 section 4.1 asks everybody to
#: support 8,000; many a server, and a command line of Windows (8,191), takes little more.
MAX_SENT_URL = 8000

#: The longest that is compared with others: a caller's request may have it. HTTP clients take no longer ones.
MAX_READ_URL = 65_536


class _Parts(NamedTuple):
    scheme: str  # lower case
    host: str  # lower case, an IPv6 address in brackets
    port: int | None  # None: the scheme's default
    path: str
    query: str  # with its "?", or empty
    fragment: str  # with its "#", or empty

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}" if self.port is None else f"{self.scheme}://{self.host}:{self.port}"


_DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 3986 appendix B, for URIs with an authority.
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(?::([0-9]{0,5}))?")
# Space, controls, backslash (browsers read it as a slash) and all beyond ASCII: parsers disagree about them.
_UNSAFE = re.compile(r"[^\x21-\x5b\x5d-\x7e]")
_LOOPBACK_IPV4 = re.compile(r"127(?:\.(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}")
# The one encoding of ::1 that people write, and its long form.
_LOOPBACK_IPV6 = re.compile(r"\[(?:::0{0,3}1|(?:0{1,4}:){7}0{0,3}1)\]")
_SLASHES = re.compile(r"[/\\]")
# "..;x" is ".." for servers that know path parameters, ".. " and "..\x00" for some file systems below them.
_CLIMBING = re.compile(r"\.\.[\s\x00]*(?:;.*)?", re.DOTALL)

# An encoded dot can itself be encoded. Nobody encodes a path more often than this in good faith.
_MAX_DECODINGS = 4


def canonical_resource(url: str, *, allow_http: bool = False) -> str:
    """The canonical URI of the server at `url`: what is sent as `resource` where the server names none itself.

    Scheme and host in lower case, without the default port and without a lone "/". Path and query stay as they are.
    `allow_http` permits plain http to hosts other than loopback. Raises `PolicyError` for a URL that can't be one: a
    scheme other than http and https, a fragment, user information, dot segments, spaces, control characters,
    backslashes or characters beyond ASCII. Implements RFC 8707 section 2 and "Canonical Server URI" of the MCP
    specification.
    """
    parts = _parse(url, "server URL")
    if parts.fragment:
        raise PolicyError(f"The server URL {_shown(url)!r} has a fragment. Give it without '#' and what follows.")
    if _climbs(parts.path) or "." in parts.path.split("/"):
        raise PolicyError(f"The path of the server URL {_shown(url)!r} has '.' or '..' segments. Give it without them.")
    _require_secure(parts, url, what="server URL", allow_loopback=True, allow_http=allow_http)
    path = "" if parts.path == "/" and not parts.query else parts.path
    return parts.origin + path + parts.query


def origin(url: str) -> str:
    """The origin of `url`, "https://host[:port]": lower case, without the default port (RFC 6454 section 4).

    Raises `PolicyError` where `url` is not an http or https URL with a host.
    """
    return _parse(url, "URL").origin


def is_loopback_url(url: str) -> bool:
    """Whether the host of `url` is this machine: 127.0.0.0/8, ::1, localhost, *.localhost (RFC 6761 section 6.3)."""
    parts = _try_parse(url)
    return parts is not None and _is_loopback(parts.host)


def is_within(url: str, resource: str) -> bool:
    """Whether a request to `url` stays inside `resource`, and so may carry its token.

    It does if the origin is the same and the path is equal to the resource's, or below it by whole segments; a
    resource without a path, or with the path "/", is the whole origin. A trailing slash of the resource and its query
    don't count. False for a path with dot segments, in whatever encoding: which resource it names depends on who
    resolves it.
    """
    target, boundary = _try_parse(url), _try_parse(resource)
    if target is None or boundary is None or target.origin != boundary.origin:
        return False
    if _climbs(target.path):
        return False
    wanted = boundary.path.removesuffix("/")
    if not wanted or target.path == wanted or target.path.startswith(wanted + "/"):
        return True
    return _same_segments(target.path, wanted)


def repr_without_queries(value: Any) -> str:
    """The repr of a dataclass, but of URLs without their queries: those may hold a key."""
    shown = (f"{field.name}={_cut(getattr(value, field.name))!r}" for field in fields(value) if field.repr)
    return f"{type(value).__qualname__}({', '.join(shown)})"


def _cut(value: Any) -> Any:
    if not isinstance(value, str) or "://" not in value or "?" not in value:
        return value
    return f"{value.partition('?')[0]}?…"


def require_secure(url: str, *, what: str, allow_loopback: bool, allow_http: bool = False) -> None:
    """Raise `PolicyError` unless `url` is https.

    `allow_loopback` permits http to loopback, `allow_http` permits it to any host. `what` names the URL in the message
    ("token endpoint"). A URL with user information, or one that parsers could read in two ways, is refused as well.
    Implements "Communication Security" of the MCP specification.
    """
    _require_secure(_parse(url, what), url, what=what, allow_loopback=allow_loopback, allow_http=allow_http)


def _require_secure(parts: _Parts, url: str, *, what: str, allow_loopback: bool, allow_http: bool) -> None:
    if parts.scheme == "https" or allow_http or (allow_loopback and _is_loopback(parts.host)):
        return
    raise PolicyError(
        f"The {what} {_shown(url)!r} is not https, so what is sent there can be read on the way. Use its https address."
    )


def _is_loopback(host: str) -> bool:
    return (
        host == "localhost"
        or host.endswith(".localhost")
        or _LOOPBACK_IPV4.fullmatch(host) is not None
        or _LOOPBACK_IPV6.fullmatch(host) is not None
    )


def _try_parse(url: str) -> _Parts | None:
    try:
        return _parse(url, "URL", MAX_READ_URL)
    except PolicyError:
        return None


def _parse(url: str, what: str, limit: int | None = None) -> _Parts:
    """The parts of `url`, which may have `limit` characters (None: `MAX_SENT_URL`). Raises `PolicyError`."""
    limit = MAX_SENT_URL if limit is None else limit
    if len(url) > limit:
        raise PolicyError(
            f"The {what} {_shown(url)!r} has {len(url):,} characters, and not all browsers, systems and servers take more than "
            f"{limit:,}. Ask for fewer scopes and parameters, or the server's operator for a shorter one."
        )
    if _UNSAFE.search(url):
        raise PolicyError(
            f"The {what} {_shown(url)!r} has a space, a backslash, a control character or one beyond ASCII. "
            "Percent-encode it, and write an international host name in its xn-- form."
        )
    match = _URI.fullmatch(url)
    if match is None or match[1].lower() not in _DEFAULT_PORTS:
        meant = _meant(url)
        raise PolicyError(
            f"The {what} {_shown(url)!r} is not a URL that starts with https:// (or http:// on this machine).{meant}"
        )
    if "@" in match[2]:
        # The password of a URL would end up in logs, and a name before the host misleads readers about the host.
        raise PolicyError(
            f"The {what} {_shown(url)!r} has user information and an '@' before its host. Leave them out."
        )
    authority = _HOST_AND_PORT.fullmatch(match[2])
    if authority is None or not _is_host(authority[1]):
        raise PolicyError(f"The {what} {_shown(url)!r} has no host, or one that can't be read. Check its spelling.")
    scheme = match[1].lower()
    port = int(authority[2]) if authority[2] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise PolicyError(f"The {what} {_shown(url)!r} has a port that doesn't exist. Check its spelling.")
    return _Parts(
        scheme=scheme,
        host=authority[1].lower(),
        port=None if port == _DEFAULT_PORTS[scheme] else port,
        path=match[3],
        query=match[4] or "",
        fragment=match[5] or "",
    )


def _is_host(host: str) -> bool:
    """Whether other parsers take `host`, too: what stands in brackets has to be an IPv6 address (RFC 3986 section 3.2.2)."""
    if not host.startswith("["):
        return True
    import ipaddress  # few servers have such a URL, and the warm path loads this module

    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def _meant(url: str) -> str:
    """The question whether a URL without its scheme was meant: http on this machine, else https."""
    host = re.split(r"[/?#]", url, maxsplit=1)[0]
    if "://" in url or not ("." in host or host.lower().partition(":")[0] == "localhost"):
        return ""
    scheme = "http" if is_loopback_url(f"http://{host}") else "https"
    return f" Did you mean {scheme}://{_shown(url)}?"


def _climbs(path: str) -> bool:
    """Whether `path` has, in any encoding, a segment that some server takes for ".."."""
    if "%" not in path and ".." not in path:
        return False
    for _ in range(_MAX_DECODINGS):
        if any(_CLIMBING.fullmatch(segment) for segment in _SLASHES.split(path)):
            return True
        decoded = unquote(path, errors="strict") if _decodable(path) else None
        if decoded is None:
            return True  # overlong dots and the like: some server may read them
        if decoded == path:
            return False
        path = decoded
    return True


def _decodable(path: str) -> bool:
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def _same_segments(path: str, wanted: str) -> bool:
    """Whether `wanted` is `path` or an ancestor of it in another spelling (RFC 3986 section 6.2.2)."""
    if "%" not in path and "%" not in wanted:
        return False
    ours, theirs = wanted.split("/"), path.split("/")
    return len(ours) <= len(theirs) and all(
        unquote_to_bytes(a) == unquote_to_bytes(b) for a, b in zip(ours, theirs, strict=False)
    )


def _shown(url: str) -> str:
    """`url` fit for a message: without query, fragment and anything before an "@", any of which may hold a secret."""
    shown = re.split(r"[?#]", url, maxsplit=1)[0]
    return printable(shown if "@" not in shown else "…@" + shown.rpartition("@")[2], 200)
