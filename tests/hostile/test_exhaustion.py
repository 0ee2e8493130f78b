"""Answers that are meant to cost time or memory: each ends at a limit that docs/configuration.md names.

Limits of time are made small here, a hundredth. No clock judges whether they hold: what counts is who leaves first, so that a
busy machine makes a test slow and not wrong. The attacker waits for ever against the library as it is, and a little longer than
the limit against one without. `python -m tests.hostile.costs` runs the same attackers against the real limits.
"""

from __future__ import annotations

import asyncio
import json
import pkgutil
import ssl
import threading
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import httpx2
import pytest

from mcp_login import InvalidResponse, OAuth, TransportError
from tests.flows.strangers import Answer, Asked
from tests.flows.support import HEADERS, message
from tests.hostile.attack import attack, refute
from tests.hostile.cost import limited
from tests.hostile.exhaustion import BODIES, DOCUMENTS, HEADS, MARKS, SLOW, Slow, bomb, bomb_in_bomb, flooding, refusing
from tests.hostile.raw import Raw, Wire, after_request, open_raw
from tests.hostile.switches.network import (
    NO_UNPACKING,
    NUMBER_OF_VALUES,
    SIZE_OF_A_BODY,
    SIZE_OF_A_HEAD,
    SIZE_OF_A_REFUSAL,
    SIZE_OF_AN_EXCHANGE,
    TIME_OF_A_REFUSAL,
    TIME_OF_ALL_DOCUMENTS,
    TIME_OF_AN_EXCHANGE,
)
from tests.hostile.world import apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import trustme

    from tests.hostile.world import Outcome, World

__all__: list[str] = []

T = TypeVar("T")

#: Where the hostile server is.
URL = "https://mcp.example.com/mcp"

#: What of a limit of time is left here.
SCALE = 0.01
#: How long an attacker holds on, in seconds: where limits hold, until the test itself is given up.
FOR_EVER, BEYOND = 60.0, 0.4

#: How much an attacker sends, and what is more than the limits and the buffers of two sockets.
FLOOD, TOO_MUCH = 9 << 20, 6 << 20


def some(kinds: Mapping[str, T], *names: str) -> pytest.MarkDecorator:
    """Cases of different mechanisms; the others are for `costs.py`, to save time."""
    return pytest.mark.parametrize("kind", [kinds[name] for name in names], ids=names)


@pytest.fixture(autouse=True)
def warm(home: Path, authority: trustme.CA) -> None:
    """What a first login imports is no cost of another one, whichever test is the first."""
    log_in_once(authority)


@cache
def log_in_once(authority: trustme.CA) -> None:
    """All that a login needs is loaded then."""
    with apart(authority) as world:
        resource, _ = world.server()
        for library in (httpx, httpx2):
            assert world.ask(resource.url, library=library).error is None
            assert ask_async(world, resource.url, library).error is None


def hostile(world: World, talk: Callable[[Wire], None], *, early: Callable[[Wire], None] | None = None) -> Raw:
    """An MCP server that answers whatever it is asked by `talk`."""
    host = world.host("mcp.example.com", opened=partial(open_raw, talk, early=early))
    assert isinstance(host.stranger, Raw)
    return host.stranger


# --- slow


def hurry(world: World, target: str) -> float:
    """Make a limit of time small, or what a switch has made of it. How long the attacker holds on, then."""
    world.monkeypatch.setattr(target, pkgutil.resolve_name(target) * SCALE)
    return FOR_EVER if world.defended else BEYOND


@some(
    SLOW,
    "a handshake that never begins",
    "silence after the request",
    "a head in drips",
    "interim answers in drips",
    "a body in drips",
    "compressed nothing in drips",
)
@attack("CWE-400, slow answers", TIME_OF_AN_EXCHANGE)
def test_no_answer_takes_longer_for_coming_in_drips(world: World, kind: Slow) -> None:
    talk = kind.lasting(hurry(world, "mcp_login.network.http.DEADLINE"))
    raw = hostile(world, talk, early=talk if kind.early else None)
    outcome = world.log_in(URL)
    raw.settle()
    refute(raw.outlasted, "a connection was held for longer than an exchange may take")
    assert isinstance(outcome.error, TransportError)


@attack("CWE-400, slow answers", TIME_OF_AN_EXCHANGE)
def test_a_resolver_that_is_silent_is_given_up(world: World) -> None:
    patience = hurry(world, "mcp_login.network.http.DEADLINE")
    given_up = threading.Event()
    outlasted = []

    class Silent(list[str]):
        def __iter__(self) -> Iterator[str]:
            if not given_up.wait(patience):
                outlasted.append(self)
            return iter([])

    world.names.addresses["mcp.example.com"] = Silent()
    try:
        outcome = world.log_in(URL)
    finally:
        given_up.set()
    refute(outlasted, "a resolver was waited for")
    assert isinstance(outcome.error, TransportError)


@attack("CWE-400, slow answers", TIME_OF_ALL_DOCUMENTS)
def test_many_slow_documents_have_one_time_limit_together(world: World) -> None:
    hurry(world, "mcp_login.obtaining.DISCOVERY_LIMIT")
    resource, _ = world.server()
    # Two of them are longer than all may take, however fast the machine is.
    slow = Slow(b"HTTP/1.1 200 OK\r\n\r\n", b" ").lasting(0.35)
    hosts = [world.host(f"slow{n}.example.com", opened=partial(open_raw, slow)) for n in range(3)]
    resource.metadata["authorization_servers"] = [host.origin for host in hosts]
    outcome = world.log_in(URL)
    refute(hosts[2].connections, "the documents together took longer than all may take")
    assert isinstance(outcome.error, TransportError)


# --- much


@some(
    BODIES,
    "a body without an end",
    "a body as long as it says",
    "chunks without an end",
    "compressed nothing without an end",
)
@attack("CWE-400, large answers", SIZE_OF_A_BODY)
def test_of_a_body_without_an_end_only_the_start_is_taken(world: World, kind: tuple[bytes, bytes]) -> None:
    raw = hostile(world, flooding(*kind, FLOOD))
    with limited():
        outcome = world.log_in(URL)
    refute(raw.sent > TOO_MUCH, "more was taken than any answer may have")
    assert isinstance(outcome.error, InvalidResponse)


@some(MARKS, *MARKS)
@attack("CWE-400, large answers", SIZE_OF_AN_EXCHANGE)
def test_what_is_no_body_is_counted_too(world: World, kind: tuple[bytes, bytes]) -> None:
    raw = hostile(world, flooding(*kind, FLOOD))
    with limited():
        outcome = world.log_in(URL)
    refute(raw.sent > TOO_MUCH, "more was taken than any answer may have")
    assert isinstance(outcome.error, InvalidResponse)


@some(HEADS, "a header without an end", "headers without number", "a chunk's extension without an end")
@attack("CWE-400, large answers", SIZE_OF_A_HEAD, SIZE_OF_AN_EXCHANGE)
def test_a_line_without_an_end_is_no_line(world: World, kind: tuple[bytes, bytes]) -> None:
    raw = hostile(world, flooding(*kind, FLOOD))
    with limited():
        outcome = world.log_in(URL)
    refute(raw.sent > TOO_MUCH, "more was taken than any answer may have")
    assert isinstance(outcome.error, (InvalidResponse, TransportError))


@attack("CWE-409", SIZE_OF_A_BODY)
def test_a_compressed_answer_is_unpacked_no_further_than_an_answer_may_go(world: World) -> None:
    packed = bomb(40 << 20)
    hostile(world, after_request(lambda wire: wire.say(packed)))
    with limited():
        outcome = world.log_in(URL)
    assert isinstance(outcome.error, InvalidResponse)


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "gzip, br", "compress", "aes128gcm"])
def test_a_compression_that_nobody_asked_for_is_not_undone(world: World, encoding: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 2\r\n\r\n{{}}"
    hostile(world, after_request(lambda wire: wire.say(head.encode())))
    assert isinstance(world.log_in(URL).error, InvalidResponse)


# --- documents


def serve_document(world: World, document: bytes) -> None:
    """An MCP server whose resource metadata is `document`."""
    resource, _ = world.server()
    resource.on["/.well-known/oauth-protected-resource/mcp"] = lambda _: Answer(200, document)
    resource.on["/.well-known/oauth-protected-resource"] = lambda _: Answer(404)


@attack("RFC 8259 section 9", NUMBER_OF_VALUES)
def test_a_document_takes_no_forty_times_its_size(world: World) -> None:
    """ "An implementation may set limits on the size of texts that it accepts", and on depth."""
    document = DOCUMENTS["lists in lists"]()
    serve_document(world, document)
    with limited():
        outcome = world.log_in(URL)
    assert isinstance(outcome.error, InvalidResponse)


@some(
    DOCUMENTS, "members without number", "as many members as may be", "one string", "one number", "a depth of 100,000"
)
def test_no_document_costs_more_than_any_may(world: World, kind: Callable[[], bytes]) -> None:
    serve_document(world, kind())
    with limited():
        world.log_in(URL)


@pytest.mark.parametrize(("where", "document"), [("/token", "members without number"), ("/register", "one string")])
def test_no_answer_to_a_secret_costs_more_than_any_may(world: World, where: str, document: str) -> None:
    resource, server = world.server()
    answer = Answer(200, DOCUMENTS[document]())
    server.on[where] = lambda _: answer
    with limited():
        outcome = world.log_in(resource.url)
    assert isinstance(outcome.error, InvalidResponse)


# --- numbers of a server that mean nothing


@pytest.mark.parametrize("life", ["1e400", "-1", "1e308", "9" * 4000, "9" * 5000, '"9e99"', "[]", "true"])
def test_a_life_of_any_length_is_a_login(world: World, life: str) -> None:
    resource, server = world.server()

    def token(asked: Asked) -> Answer:
        answer = server.token(asked)
        assert isinstance(answer.body, dict)
        body = json.dumps({**answer.body, "expires_in": "LIFE"}).replace('"LIFE"', life)
        return Answer(200, body.encode())

    server.on["/token"] = token
    outcome = world.ask(resource.url)
    # Python reads no integer of more than 4,300 digits, so that answer is no JSON.
    assert outcome.error is None if len(life) < 4300 else isinstance(outcome.error, InvalidResponse)


@pytest.mark.parametrize(
    "wait", ["9" * 299, "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "-1", "1e9"]
)
def test_no_server_makes_us_wait_for_centuries(world: World, wait: str) -> None:
    resource, _ = world.server()
    resource.on["/mcp"] = lambda _: Answer(503, headers={"Retry-After": wait})
    with limited():
        outcome = world.log_in(URL)
    assert isinstance(outcome.error, TransportError)
    assert (outcome.error.retry_after or 0) <= 86_400


# --- answers that are none


@pytest.mark.parametrize(
    "said",
    [
        b"<html>HTTP/0.9 has no head</html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 1000 High\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 000000000000000000000000000000002\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\r: y\r\n\r\n",
        b"\x00" * 1000,
        b"HTTP/1.1 200 \x1b[2J\x1b[1;31mpwned\r\nbad\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 4\r\n\r\n\xab\xae\x05\x00",
        b"",
    ],
    ids=range(22),
)
def test_what_is_no_answer_is_an_error_with_words(world: World, said: bytes) -> None:
    """Ours, that is, with nothing in it that controls a terminal: `World.attempt` sees to it."""
    hostile(world, after_request(lambda wire: wire.say(said)))
    assert isinstance(world.log_in(URL).error, (InvalidResponse, TransportError))


@pytest.mark.parametrize(
    "garbage",
    [b"\x15\x03\x03\x00\x02\x02\x28", b"SSH-2.0-x\r\n", b"\x16\x03\x03\xff\xff" * 9000],
    ids=["an alert", "another protocol", "records too long"],
)
def test_what_is_no_handshake_is_an_error_with_words(world: World, garbage: bytes) -> None:
    hostile(world, lambda _: None, early=lambda wire: wire.say(garbage))
    assert isinstance(world.log_in(URL).error, TransportError)


# --- refusals that the caller's own client gets


def ask_async(world: World, url: str, library: Any) -> Outcome:
    async def send() -> Any:
        auth = OAuth(url, **world.options())
        context = ssl.create_default_context()
        async with library.AsyncClient(auth=auth, trust_env=False, verify=context, timeout=10) as client:
            return await client.post(url, json=message(), headers=HEADERS)

    return world.attempt(lambda: asyncio.run(send()))


clients = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
ways = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@clients
@ways
@attack("CWE-400, large answers", SIZE_OF_A_REFUSAL)
def test_of_a_refusal_without_an_end_only_the_start_is_read(world: World, library: Any, asynchronous: bool) -> None:
    """A 401's body frees the connection when it is read; one that never ends must not fill the memory."""
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        while sent < FLOOD:
            yield b"A" * 65536
            sent += 65536

    url = refusing(world, body)
    outcome = ask_async(world, url, library) if asynchronous else world.ask(url, library=library)
    refute(sent > TOO_MUCH, "a refusal was read to its end")
    assert outcome.value.status_code == 200


@clients
@ways
@attack("CWE-409", NO_UNPACKING)
def test_a_refusal_is_not_unpacked(world: World, library: Any, asynchronous: bool) -> None:
    """The caller's client undoes what a server names, as often as it is named, in one step: 48 MiB come out of 300 bytes."""
    packed = bomb_in_bomb(48 << 20)
    url = refusing(world, lambda: packed, "gzip, gzip")
    with limited():
        outcome = ask_async(world, url, library) if asynchronous else world.ask(url, library=library)
    assert outcome.value.status_code == 200


@ways
@attack("CWE-400, slow answers", TIME_OF_A_REFUSAL)
def test_a_refusal_in_drips_is_waited_for_for_a_moment_only(world: World, asynchronous: bool) -> None:
    patience = hurry(world, "mcp_login.auth.DRAIN_SECONDS")
    outlasted = []

    def body() -> Iterator[bytes]:
        over = threading.Event()
        for _ in range(round(patience / 0.05)):
            over.wait(0.05)
            yield b" "
        outlasted.append(patience)

    url = refusing(world, body)
    outcome = ask_async(world, url, httpx) if asynchronous else world.ask(url)
    refute(outlasted, "a refusal was waited for")
    assert outcome.value.status_code == 200
