"""What went wrong on the wire, in words: the host, the cause, the next step.

Exceptions of the HTTP libraries quote bytes of the peer, which may echo secrets: none of their text is used, only their
types, the operating system's own errors at their root, and TLS's verdict on a certificate.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcp_login.errors import TransportError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Route", "Sending", "host_of", "proxy_shown", "transport_error", "wire_errors"]

_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2")
_FAILURES = (
    "HTTPError",
    "InvalidURL",
    "NetworkError",
    "ProtocolError",
    "ProxyError",
    "StreamError",
    "TimeoutException",
    "UnsupportedProtocol",
)
# With these names the libraries say that there was no connection yet, for the request that is.
_BEFORE_SENDING = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)


@dataclass(frozen=True, slots=True)
class Route:
    """Where an exchange goes: `url`, and `proxy` (host and port, never its password) if through one."""

    url: str
    proxy: str | None = None

    @property
    def host(self) -> str:
        return host_of(self.url)

    @property
    def first_hop(self) -> str:
        """Whom the connection is made to."""
        return self.host if self.proxy is None else f"the proxy {self.proxy}"


class Sending:
    """Whether some of a request may have left this machine: httpcore tells `trace`.

    Transports that aren't httpcore's tell nothing. Then only the type of an exception can (`may_have_acted`).
    """

    def __init__(self, *, traced: bool) -> None:
        self._traced = traced
        self._begun = False

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore's extension `trace`. A request to a proxy for a tunnel is not the request itself."""
        self._traced = True
        if event.endswith(".send_request_headers.started"):
            self._begun = self._begun or getattr(info.get("request"), "method", b"") != b"CONNECT"

    def may_have_acted(self, error: BaseException | None = None) -> bool:
        """Whether the server may have got enough of the request to act on it, `error` being what the exchange ended with."""
        if self._traced:
            return self._begun
        return type(error).__name__ not in _BEFORE_SENDING and not isinstance(error, socket.gaierror)


def host_of(url: str) -> str:
    """Host and port of `url` as shown to people: no user name, path or query."""
    try:
        authority = urlsplit(url).netloc
    except ValueError:  # a proxy's URL comes from the environment as it is
        authority = ""
    return printable(authority.rpartition("@")[2], 120) or "(an address that can't be read)"


def proxy_shown(proxy: str) -> str:
    """Host and port of a proxy's URL, as the environment has it: no user name, no password.

    A raw `/`, `?` or `#` in the password ends the authority for every parser (RFC 3986 section 3.2): what is in front of the
    last `@` of all is never shown.
    """
    _, at, rest = proxy.rpartition("@")
    return host_of(f"//{rest}" if at else proxy)


def wire_errors() -> tuple[type[Exception], ...]:
    """The types of exceptions with which an HTTP client may fail, of whichever HTTP libraries are loaded.

    A caller's client may be httpx2's while ours is httpx's. Their exceptions have no common base.
    """
    found: list[type[Exception]] = [OSError, UnicodeError]  # the latter: a header that is not ASCII
    for library in _LIBRARIES:
        module = sys.modules.get(library)
        kinds = (getattr(module, name, None) for name in _FAILURES)
        found.extend(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception))
    return tuple(found)


def _chain(error: BaseException, ambient: BaseException | None) -> Iterator[BaseException]:
    """`error` and what caused it, nearest first, up to `ambient`: what was being dealt with before we were called."""
    waiting, seen = [error], {id(ambient)}
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
        waiting.extend(cause for cause in (current.__cause__, current.__context__) if cause is not None)


def transport_error(
    error: BaseException, route: Route, *, ambient: BaseException | None = None, may_have_acted: bool = True
) -> TransportError:
    """The `TransportError` that says what `error` means for `route`. Raise it outside the `except`."""
    told = (_by_system(cause, route) or _by_library(cause, route) for cause in _chain(error, ambient))
    said = next((words for words in told if words is not None), None)
    unknown = f"The connection to {route.host} failed. Check the network and that the server is up, then try again."
    return TransportError(said or unknown, url=route.url, may_have_acted=may_have_acted)


def _by_system(cause: BaseException, route: Route) -> str | None:
    """What an error of the operating system, the resolver or TLS says."""
    hop = route.first_hop
    if isinstance(cause, ssl.SSLError):
        return _by_tls(cause, route)
    if isinstance(cause, socket.gaierror):
        reason = printable(cause.strerror or "no reason given", 100)
        return f"The name of {hop} could not be resolved ({reason}). Check the URL and this machine's network and DNS."
    if isinstance(cause, ConnectionRefusedError):
        return f"The connection to {hop} was refused. Check that it is running and that the port is right."
    if isinstance(cause, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return f"The connection to {route.host} was reset before the answer was complete. Try again."
    if isinstance(cause, TimeoutError):
        return _timed_out(route)
    if isinstance(cause, OSError) and cause.errno in _UNREACHABLE:
        return f"There is no way to {hop} from here (network or host unreachable). Check this machine's network or VPN."
    return None


def _by_tls(cause: ssl.SSLError, route: Route) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        # Not `verify_message` verbatim for names: the host is ours, the rest are OpenSSL's fixed texts.
        reason = printable(getattr(cause, "verify_message", "") or "no reason given", 150).rstrip(".")
        return f"The certificate of {route.host} is not trusted ({reason}). {_certificate_advice(reason.lower())}"
    if cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return f"{route.host} does not speak TLS on that port. Check the URL's scheme and port."
    reason = printable((cause.reason or "no reason given").replace("_", " ").lower(), 100)
    return (
        f"The TLS handshake with {route.host} failed ({reason}). Check what its operator requires, or a proxy between."
    )


def _certificate_advice(reason: str) -> str:
    if "expired" in reason or "not yet valid" in reason:
        return "Check this machine's clock; if it is right, the server's operator has to renew the certificate."
    if "mismatch" in reason or "not valid for" in reason:
        return "Check the URL: the certificate is for another name."
    return (
        "If your organisation has its own certificate authority, install it in the operating system or point "
        "SSL_CERT_FILE at its certificate."
    )


def _timed_out(route: Route) -> str:
    return f"{route.host} did not answer in time. Check the network and that the server is up, then try again."


def _by_library(cause: BaseException, route: Route) -> str | None:
    """What the type of an HTTP library's exception says; the same names in httpx, httpx2, httpcore and httpcore2."""
    name = type(cause).__name__
    if name == "ProxyError":
        status = re.match(r"\d{3}\b", str(cause))
        said = f" (status {status[0]})" if status else ""
        return _proxy_refused(route, said)
    if name.endswith("Timeout") or name == "TimeoutException":
        return _timed_out(route)
    if name == "RemoteProtocolError":
        if re.search(r"disconnected|closed connection", str(cause)):
            return f"{route.host} closed the connection before the answer was complete. Try again."
        return f"{route.host} did not answer in HTTP. Check the URL's scheme and port."
    if name == "EndOfStream":  # anyio's, during a TLS handshake
        return f"{route.host} closed the connection during the TLS handshake. Check the URL's port, or a proxy between."
    if name == "LocalProtocolError" or isinstance(cause, UnicodeError):
        return f"The request to {route.host} cannot be sent as HTTP: a header holds characters that are not allowed."
    return None


def _proxy_refused(route: Route, said: str) -> str:
    proxy = "The proxy" if route.proxy is None else f"The proxy {route.proxy}"
    return f"{proxy} would not connect to {route.host}{said}. Check HTTPS_PROXY, its password, and NO_PROXY."
