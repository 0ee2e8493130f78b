"""Targets: URLs, addresses and redirects that servers, environments and people give."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from contextlib import suppress
from functools import cache
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import httpx

from mcp_login.browser.opener import defuse
from mcp_login.errors import AuthError, PolicyError
from mcp_login.network.failure import proxy_shown
from mcp_login.network.http import HttpClient
from mcp_login.network.policy import AddressSpace, NetworkPolicy, address_space, space_of_host
from mcp_login.network.proxy import proxy_for
from mcp_login.network.transport import CheckedTransport
from mcp_login.protocol.message import HttpRequest
from mcp_login.protocol.uri import MAX_SENT_URL, canonical_resource, is_loopback_url, is_within, origin, require_secure

from .checks import at_end, is_clean, judged, lines, require_clean_error, text_of

__all__ = ["browser_url", "network_policy", "proxy", "redirect", "uri"]


def _httpx_host(url: str) -> str | None:
    """The host that httpx would connect to, or None where it refuses the URL, as our client then does."""
    try:
        # It leaves the digits of an IPv6 address as they are written.
        return httpx.URL(url).raw_host.decode("ascii").lower()
    except (httpx.InvalidURL, ValueError):
        return None


def _passes(policy: NetworkPolicy, url: str, floor: AddressSpace) -> bool:
    try:
        policy.check_url(url, floor=floor)
    except AuthError as error:
        require_clean_error(error)
        return False
    return True


def network_policy(data: bytes) -> None:
    """URLs and literal addresses: the first line is a URL, the second an address."""
    url, address = lines(data, 2)
    for policy in (NetworkPolicy(), NetworkPolicy(allow_private_network=True)):
        passed = [_passes(policy, url, floor) for floor in AddressSpace]
        # Whoever is nearer may lead to all that those further away may lead to.
        assert passed == sorted(passed)
        if any(passed):
            _require_one_host(url)
    space = space_of_host(address)
    assert space is None or space in AddressSpace
    try:
        literal = address_space(address)
    except ValueError:
        literal = None
    if literal is None:
        _require_numbers_known(address, space)
        return
    for floor in AddressSpace:
        with judged():
            NetworkPolicy().check_address(address, floor=floor, url="https://mcp.example.com/x")
            assert literal <= floor


def _require_one_host(url: str) -> None:
    """What was judged is what is requested."""
    parts = urlsplit(url)
    assert parts.scheme in ("http", "https")
    assert parts.username is None
    requested = _httpx_host(url)
    if requested is not None and parts.netloc.isascii():
        assert requested == (parts.hostname or ""), "two hosts in one URL"


def _require_numbers_known(address: str, space: AddressSpace | None) -> None:
    """An address in one of the spellings that resolvers take is judged as what it is."""
    with suppress(OSError, ValueError):
        if re.fullmatch(r"[0-9A-Fa-fXx.]+", address) and address.rstrip(".") == address:
            assert space is address_space(socket.inet_ntoa(socket.inet_aton(address)))


def uri(data: bytes) -> None:
    """RFC 3986, RFC 8707 section 2: the first line is a URL, the second the resource that it may be within."""
    url, resource = lines(data, 2)
    inside = is_within(url, resource)
    is_short = max(len(url), len(resource)) <= MAX_SENT_URL
    if inside:
        assert not is_short or origin(url) == origin(resource)
        assert _is_below(url, resource)
    elif (
        is_short
        and re.fullmatch(r"https://[a-z.]+(?:/[a-z0-9]+)*", url)
        and re.fullmatch(r"https://[a-z.]+(?:/[a-z0-9]+)*", resource)
    ):
        assert origin(url) != origin(resource) or not _is_below(url, resource)
    with judged():
        canonical = canonical_resource(url, allow_http=True)
        assert canonical_resource(canonical, allow_http=True) == canonical
        assert origin(canonical) == origin(url)
        assert is_within(url, canonical)
        assert is_clean(canonical)
    with judged():
        found = origin(url)
        assert is_loopback_url(url) == is_loopback_url(found)
        require_secure(found, what="URL", allow_loopback=False, allow_http=True)
        _require_agreement(url, found)


def _require_agreement(url: str, found: str) -> None:
    """Every parser that comes after ours reads the same host and port."""
    ours = httpx.URL(found) if _httpx_host(found) is not None else None
    theirs = urlsplit(url)
    assert f"{theirs.scheme}://{theirs.netloc}".lower().startswith(found.rpartition(":")[0])
    requested = _httpx_host(url)
    assert (requested is None) == (ours is None)
    if ours is not None:
        there = httpx.URL(url)
        assert (there.scheme, there.raw_host.lower(), _port(there)) == (ours.scheme, ours.raw_host, _port(ours))
        assert requested == (theirs.hostname or "")


def _port(url: httpx.URL) -> int:
    # Where the scheme is in upper case, httpx does not leave out its default.
    return url.port or (443 if url.scheme == "https" else 80)


def _is_below(url: str, resource: str) -> bool:
    """The rule of `is_within`, naively: equal or below by whole decoded segments, and nowhere a way up."""
    path, wanted = (urlsplit(one).path for one in (url, resource))
    decoded = path
    for _ in range(6):
        if ".." in [segment.partition(";")[0] for segment in re.split(r"[/\\]", decoded)]:
            return False
        decoded = unquote(decoded, errors="replace")
    theirs = [unquote_to_bytes(segment) for segment in path.split("/")]
    ours = [unquote_to_bytes(segment) for segment in wanted.removesuffix("/").split("/")]
    return theirs[: len(ours)] == ours or ours == [b""]


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    at_end(loop.close)
    return loop


def redirect(data: bytes) -> None:
    """Redirects of a metadata request: each line of the input is the Location of one answer more."""
    locations = data.split(b"\n")[:6]
    start = "https://mcp.example.com:8443/a/b?key=secretkey"
    seen: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        number = len(seen) - 1
        if number < len(locations):
            return httpx.Response(302, headers=[(b"location", locations[number])])
        return httpx.Response(200, content=b"{}")

    async def ask() -> None:
        client = HttpClient(factory=lambda: httpx.AsyncClient(transport=httpx.MockTransport(answer)))
        try:
            with judged("secretkey"):
                response = await client.send(HttpRequest("GET", start), follow_redirects=True)
                assert response.status in (200, 302)
        finally:
            await client.aclose()

    _loop().run_until_complete(ask())
    assert 1 <= len(seen) <= 4
    for url in seen:
        # A dot at the end is the same name.
        assert (url.scheme, url.host.rstrip("."), url.port) == ("https", "mcp.example.com", 8443)
        assert not url.userinfo
        assert not url.fragment


def proxy(data: bytes) -> None:
    """Proxy variables: NO_PROXY, HTTPS_PROXY and a URL."""
    no_proxy, value, url = (part.replace("\x00", "") for part in lines(data, 3))
    variables = {"no_proxy": no_proxy, "https_proxy": value}
    kept = {name: os.environ.get(name) for name in variables}
    try:
        for name, text in variables.items():
            os.environ[name] = os.fsdecode(text.encode("utf-8", "surrogatepass"))
        for target in ("https://mcp.example.com/", "https://10.1.2.3:8443/", url):
            with suppress(PolicyError):
                # As the client does it: only what the policy lets through is asked about.
                NetworkPolicy().check_url(target, floor=AddressSpace.LOOPBACK)
                _use(proxy_for(target), target)
    finally:
        for name, before in kept.items():
            if before is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = before


def _use(found: str | None, target: str) -> None:
    if found is None:
        return
    assert "://" in found
    shown = proxy_shown(found)
    assert is_clean(shown)
    credentials, _, address = found.partition("://")[2].rpartition("@")
    # Parsers take a password with a raw `/`, `?` or `#` in it to pieces: none may be told. What is the host, too, is.
    pieces = [piece for piece in re.split(r"[/?#@:]", credentials.partition(":")[2]) if piece not in address]
    assert not [piece for piece in pieces if len(piece) > 3 and piece in shown and shown[0] != "("]
    with judged(*(piece for piece in pieces if len(piece) > 8)):
        CheckedTransport(
            target,
            policy=NetworkPolicy(),
            floor=AddressSpace.LOOPBACK,
            ssl_context=None,
            reached=lambda _: None,
            proxy=found,
            max_bytes=1 << 16,
        )


def browser_url(data: bytes) -> None:
    """Authorization URLs on their way to a browser."""
    url = text_of(data)
    with judged():
        safe = defuse(url)
        assert safe.isascii()
        assert is_clean(safe)
        assert not set(safe) & set("\"'`<>{}|^$() \\")
        assert re.search(r"%(?![0-9A-Fa-f]{2})", safe) is None
        assert unquote_to_bytes(safe) == unquote_to_bytes(url)
        assert origin(safe) == origin(url)
        assert safe.lower().startswith("https://") or is_loopback_url(safe)
        assert defuse(safe) == safe
