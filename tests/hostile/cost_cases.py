"""Hostile answers at their full size, and what each may cost: the cases of `python -m tests.hostile.costs`. Linux only.

Each case has a process of its own, in which a first, decent login has imported everything. Servers share the process: what
they hold counts.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import trustme

import mcp_login.sync
from mcp_login.auth import DRAIN_SECONDS
from mcp_login.network.http import DEADLINE
from mcp_login.obtaining import DISCOVERY_LIMIT
from tests.flows.strangers import Answer
from tests.hostile.cost import Cost, measured
from tests.hostile.exhaustion import BODIES, DOCUMENTS, HEADS, MARKS, SLOW, Slow, bomb, bomb_in_bomb, flooding, refusing
from tests.hostile.raw import after_request, open_raw
from tests.hostile.world import apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hostile.raw import Wire
    from tests.hostile.world import World

__all__ = ["BESIDES", "CASES", "PATIENCE", "Case", "measure"]

#: How long the attackers hold on, in seconds, and how much they send, in bytes: more than any limit lets them.
PATIENCE, FLOOD = 90.0, 1 << 30

#: What a login takes beside the answer that is to cost, on a machine that is busy, in seconds.
BESIDES = 3.0


class Case:
    """`prepare` makes the world hostile and gives what a victim does there; `limit` is that of the time, in seconds."""

    def __init__(self, name: str, limit: float, prepare: Callable[[World], Callable[[], object]]) -> None:
        self.name = name
        self.limit = limit
        self.prepare = prepare


def _logs_in(world: World, url: str = "https://mcp.example.com/mcp") -> Callable[[], object]:
    return lambda: world.attempt(lambda: mcp_login.sync.login(url, **world.options()))


def _slow(slow: Slow, world: World) -> Callable[[], object]:
    talk = slow.lasting(PATIENCE)
    opened = partial(open_raw, talk, early=talk if slow.early else None)
    world.host("mcp.example.com", opened=opened)
    return _logs_in(world)


def _says(talk: Callable[[Wire], None], world: World) -> Callable[[], object]:
    world.host("mcp.example.com", opened=partial(open_raw, talk))
    return _logs_in(world)


def _metadata(document: Callable[[], bytes], world: World) -> Callable[[], object]:
    resource, _ = world.server()
    said = Answer(200, document())
    resource.on["/.well-known/oauth-protected-resource/mcp"] = lambda _: said
    return _logs_in(world)


def _endpoint(path: str, document: Callable[[], bytes], world: World) -> Callable[[], object]:
    resource, server = world.server()
    said = Answer(200, document())
    server.on[path] = lambda _: said
    return _logs_in(world, resource.url)


def _silent_resolver(world: World) -> Callable[[], object]:
    class Silent(list[str]):
        def __iter__(self) -> Iterator[str]:
            threading.Event().wait(PATIENCE)
            return iter([])

    world.names.addresses["mcp.example.com"] = Silent()
    return _logs_in(world)


def _slow_issuers(world: World) -> Callable[[], object]:
    """A hundred of them, each of whose documents comes in drips, and is redirected before that."""
    resource, _ = world.server()
    slow = world.host("slow.example.com", opened=partial(open_raw, SLOW["a body in drips"].lasting(PATIENCE)))
    resource.metadata["authorization_servers"] = [f"{slow.origin}/{n}" for n in range(100)]
    return _logs_in(world, resource.url)


def _many_challenges(world: World) -> Callable[[], object]:
    head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n" + b'WWW-Authenticate: Bearer a="b", c\r\n' * 2500
    world.host("mcp.example.com", opened=partial(open_raw, after_request(lambda wire: wire.say(head + b"\r\n"))))
    return _logs_in(world)


def _refusal(
    body: Callable[[], bytes | Iterator[bytes]], world: World, encoding: str = "identity"
) -> Callable[[], object]:
    url = refusing(world, body, encoding)
    return lambda: world.ask(url)


def _endless() -> Iterator[bytes]:
    for _ in range(FLOOD >> 16):
        yield b"A" * 65536


def _dripping() -> Iterator[bytes]:
    over = threading.Event()
    for _ in range(int(PATIENCE / 0.05)):
        over.wait(0.05)
        yield b" "


_BYTES = b"1\r\nA\r\n" * 10_000

#: `DEADLINE` where a login fails at its first answer.
CASES = [
    *(Case(name, DEADLINE, partial(_slow, slow)) for name, slow in SLOW.items()),
    Case("a resolver that is silent", DEADLINE, _silent_resolver),
    Case("documents in drips, of a hundred authorization servers", DISCOVERY_LIMIT, _slow_issuers),
    *(
        Case(name, DEADLINE, partial(_says, flooding(first, part, FLOOD)))
        for name, (first, part) in {**BODIES, **MARKS, **HEADS}.items()
    ),
    Case(
        "chunks of one byte, as many as come",
        DEADLINE,
        partial(_says, flooding(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", _BYTES, FLOOD)),
    ),
    Case(
        "interim answers of 28 bytes, as many as come",
        DEADLINE,
        partial(_says, flooding(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000, FLOOD)),
    ),
    Case("512 MiB, compressed", DEADLINE, lambda world: _says(after_request(partial(_say, bomb(512 << 20))), world)),
    Case("2,500 challenges", DEADLINE, _many_challenges),
    *(Case(f"metadata: {name}", DEADLINE, partial(_metadata, made)) for name, made in DOCUMENTS.items()),
    *(
        Case(f"answer of the {path[1:]} endpoint: {name}", DEADLINE, partial(_endpoint, path, DOCUMENTS[name]))
        for path in ("/register", "/token")
        for name in ("members without number", "lists in lists", "one string")
    ),
    Case("a refusal without an end, to the caller's client", DRAIN_SECONDS, partial(_refusal, _endless)),
    Case("a refusal in drips, to the caller's client", DRAIN_SECONDS, partial(_refusal, _dripping)),
    Case(
        "a refusal of 320 MiB, packed twice, to the caller's client",
        DRAIN_SECONDS,
        partial(_refusal, partial(bomb_in_bomb, 320 << 20), encoding="gzip, gzip"),
    ),
]


def _say(data: bytes, wire: Wire) -> None:
    wire.say(data)


def measure(case: Case) -> Cost:
    """What `case` costs, in this process."""
    authority = trustme.CA()
    with apart(authority) as world:
        world.ask(world.server("decent.example.com")[0].url)
    with apart(authority) as world:
        victim = case.prepare(world)
        with measured() as cost:
            victim()
    return cost
