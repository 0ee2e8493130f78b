"""Processes that share one login, and the authorization servers that count what they ask for.

    with embedded() as server, fleet(16) as processes:
        outcome = one_refresh(server, processes, "file", folder, Crowd(processes=16, threads=1))

Processes are those of callers.py. They are started once, and used for any number of rounds.
"""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mcp_login import MemoryStorage
from mcp_login.storage.record import Record, record_key
from mcp_login.testing import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from tests.real.callers import SharedClock
    from tests.real.guarded import Guarded
    from tests.real.oidc_provider import OidcProvider

__all__ = [
    "CROWDS",
    "Crowd",
    "Embedded",
    "Foreign",
    "Login",
    "Member",
    "Outcome",
    "Rotations",
    "Rotator",
    "embedded",
    "fleet",
    "foreign",
    "one_refresh",
    "rotate",
    "running",
    "together",
]

ROOT = Path(__file__).resolve().parents[2]

#: Seconds that a process may take for a reply.
REPLY_LIMIT = 120.0

#: How many rotations there are between two looks at what the server has counted.
STRIDE = 25


class Rotator(Protocol):
    """An authorization server that rotates refresh tokens, and the MCP server that it protects."""

    name: str
    url: str

    def sign_in(self) -> str:
        """The text of a new login's record."""

    def expire(self) -> None:
        """Every access token is dead at once."""

    def clear(self) -> None:
        """Forget what was asked so far."""

    def token_requests(self) -> tuple[int, int]:
        """How many token requests there were, and how many of them were refused."""

    def reuse_detections(self) -> int:
        """How often a refresh token came back after its rotation."""


class Embedded:
    """`EmbeddedServer`, as strict as it is."""

    name = "embedded server"

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._detected = 0
        self.url: str = server.url

    def sign_in(self) -> str:
        """A login as a person would leave it."""
        storage = MemoryStorage()
        self._server.sign_in(storage)
        text = storage.load_now(record_key(self.url, None), 0)
        assert text is not None
        return text

    def expire(self) -> None:
        """Every access token is dead at once."""
        self._server.revoke_access_tokens()

    def clear(self) -> None:
        """Forget what was asked so far."""
        self._server.requests.clear()
        self._detected = self._server.reuse_detections

    def token_requests(self) -> tuple[int, int]:
        """How many, and how many were refused."""
        found = self._server.requests.matching("token")
        return len(found), sum(request.status != 200 for request in found)

    def reuse_detections(self) -> int:
        """Since `clear`."""
        return self._server.reuse_detections - self._detected


class Foreign:
    """npm's `oidc-provider`: a refresh token that comes back is `invalid_grant`, and ends its family."""

    name = "oidc-provider"

    def __init__(self, provider: OidcProvider, resource: Guarded) -> None:
        self._provider = provider
        self._resource = resource
        self.url: str = resource.url

    def sign_in(self) -> str:
        """A login by a visitor."""
        from mcp_login.sync import login
        from tests.real.people import Visitor

        storage = MemoryStorage()
        login(self.url, storage=storage, on_authorization_url=Visitor(), interactive=True, callback_timeout=20)
        text = storage.load_now(record_key(self.url, None), 0)
        assert text is not None
        return text

    def expire(self) -> None:
        """Every access token is dead at once."""
        self._provider.expire_access_tokens()
        self._resource.forget()

    def clear(self) -> None:
        """Forget what was asked so far."""
        self._provider.clear()

    def token_requests(self) -> tuple[int, int]:
        """How many, and how many were refused."""
        found = [request for request in self._provider.server.requests() if request.endpoint == "token"]
        return len(found), sum(request.status != 200 for request in found)

    def reuse_detections(self) -> int:
        """Since `clear`."""
        return self._provider.server.count("token", error="invalid_grant")


@contextmanager
def embedded(clock: Callable[[], float] | None = None) -> Iterator[Embedded]:
    """An embedded server until the end of the block: rotation without grace, and detection of reuse."""
    with EmbeddedServer(clock=clock, rotation=True, rotation_grace=0.0, reuse_detection=True).run() as server:
        yield Embedded(server)


@contextmanager
def foreign() -> Iterator[Foreign]:
    """`oidc-provider` and a quick resource server, until the end of the block. Skips the test where it is missing."""
    from tests.real.guarded import guarded
    from tests.real.oidc_provider import oidc_provider

    with oidc_provider() as provider, guarded(provider.issuer, "mcp", provider.introspect) as resource:
        provider.allow_resource(resource.url)
        yield Foreign(provider, resource)


def running(name: str, clock: Callable[[], float] | None = None) -> AbstractContextManager[Embedded | Foreign]:
    """The server of that name: `embedded`, with that clock, or `oidc-provider`."""
    return embedded(clock) if name == "embedded" else foreign()


class Member:
    """One process of callers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, do: str, **arguments: Any) -> None:
        """Give a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def reply(self) -> dict[str, Any]:
        """The reply to the oldest command without one."""
        assert self._process.stdout is not None
        # A process that is stuck is ended, so that this comes back.
        watch = threading.Timer(REPLY_LIMIT, self._process.kill)
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        assert line, "a process of callers has ended"
        found: dict[str, Any] = json.loads(line)
        return found

    def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Give a command, and wait for its reply."""
        self.tell(command, **arguments)
        return self.reply()


@contextmanager
def fleet(count: int, *, environment: Mapping[str, str] | None = None) -> Iterator[list[Member]]:
    """`count` processes until the end of the block, all with the variables of `environment` (None: with those of this one)."""
    command = [sys.executable, "-W", "error", "-m", "tests.real.callers"]
    with ExitStack() as stack:
        processes = []
        for _ in range(count):
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=None if environment is None else dict(environment),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            processes.append(process)
        members = [Member(process) for process in processes]
        yield members
        for member in members:
            member.tell("end")
        for process in processes:
            process.wait(20)


def together(members: Sequence[Member], command: str, **arguments: Any) -> list[dict[str, Any]]:
    """The replies of all of them, who work at the same time."""
    for member in members:
        member.tell(command, **arguments)
    return [member.reply() for member in members]


# --- one refresh


@dataclasses.dataclass(frozen=True)
class Crowd:
    """How many callers there are: in each of `processes`, `threads`, and tasks of asyncio in `loops` loops, and of trio."""

    processes: int = 1
    threads: int = 0
    tasks: int = 0
    loops: int = 1
    trio: int = 0

    @property
    def callers(self) -> int:
        """How many there are in all."""
        return self.processes * (self.threads + self.tasks + self.trio)


#: What the issue asks for, by a name for people; and the storages that each is tried with.
CROWDS: dict[str, tuple[Crowd, tuple[str, ...]]] = {
    "1,000 tasks": (Crowd(tasks=1000), ("memory", "file")),
    "64 threads": (Crowd(threads=64), ("memory", "file")),
    "tasks, loops, threads": (Crowd(threads=64, tasks=800, loops=4, trio=136), ("memory",)),
    "16 processes": (Crowd(processes=16, threads=1), ("file", "keychain")),
    "16 processes, mixed": (Crowd(processes=16, threads=4, tasks=48, loops=2, trio=12), ("file", "keychain")),
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one expired credential. `waited`: the callers who began before the refresh was sent."""

    server: str
    storage: str
    callers: int
    waited: int
    got: dict[str, int]
    token_requests: int
    refused: int
    reuse_detections: int
    seconds: float

    @property
    def is_one_refresh(self) -> bool:
        """Whether everybody got an answer, for one token request."""
        counted = (self.token_requests, self.refused, self.reuse_detections)
        return counted == (1, 0, 0) and self.got == {"200": self.callers}


class Login:
    """The login that goes from round to round: what is lost in one is missing in the next."""

    def __init__(self, server: Rotator) -> None:
        self.server = server
        self.text = server.sign_in()

    def expired(self, *, known: bool) -> str:
        """Its record after the access token has died; `known`: the record says so."""
        self.server.expire()
        if known:
            record = Record.parse(self.text)
            assert record.expires_at is not None
            expired_at, obtained_at = record.expires_at - 7200, record.obtained_at - 7200
            self.text = dataclasses.replace(record, expires_at=expired_at, obtained_at=obtained_at).dump()
        return self.text


def one_refresh(
    login: Login, members: Sequence[Member], storage: str, folder: Path, crowd: Crowd, *, known: bool = True
) -> Outcome:
    """Let `crowd` meet one expired credential. `known`: the record says that it has; else the server refuses it."""
    used = members[: crowd.processes]
    together(used, "place", kind=storage, folder=str(folder), url=login.server.url)
    used[0].do("save", text=login.expired(known=known))
    login.server.clear()
    together(used, "gather", threads=crowd.threads, tasks=crowd.tasks, loops=crowd.loops, trio=crowd.trio)
    if known:
        # So that the last one comes before the first one's answer: nobody gets it without having waited.
        used[0].do("hold")
    began = time.monotonic()
    together(used, "go")
    if known:
        used[0].do("let_go")
    replies = together(used, "finish")
    seconds = time.monotonic() - began
    got: Counter[str] = Counter()
    for reply in replies:
        got.update(reply["got"])
    login.text = used[0].do("load")["text"]
    requests, refused = login.server.token_requests()
    return Outcome(
        login.server.name,
        storage,
        crowd.callers,
        sum(reply["waited"] for reply in replies),
        dict(got),
        requests,
        refused,
        login.server.reuse_detections(),
        seconds,
    )


# --- rotations in a row


@dataclasses.dataclass
class Rotations:
    """What came of many rotations. `seen`: requests by how they ended; a login that is lost shows as LoginRequired."""

    by_expiry: int = 0
    by_revocation: int = 0
    token_requests: int = 0
    refused: int = 0
    reuse_detections: int = 0
    seconds: float = 0.0
    seen: Counter[str] = dataclasses.field(default_factory=Counter)

    @property
    def count(self) -> int:
        """How many times the token was ended."""
        return self.by_expiry + self.by_revocation

    @property
    def lost(self) -> int:
        """Requests that got no answer from the server."""
        return sum(self.seen.values()) - self.seen["200"]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost, and each end of a token cost one token request."""
        counted = (self.token_requests, self.refused, self.reuse_detections, self.lost)
        return counted == (self.count, 0, 0, 0)


def rotate(
    server: Rotator,
    members: Sequence[Member],
    storage: str,
    folder: Path,
    clock: SharedClock,
    *,
    rotations: int,
    seed: int = 1,
) -> Rotations:
    """End the token `rotations` times, a fifth by expiry and the rest by revocation at the server; all share one login.

    After each end some of the processes send a request at the same moment, sometimes all: so others fall behind by several
    rotations, and come back with a token of long ago.
    """
    dice = random.Random(seed)
    done = Rotations()
    together(members, "place", kind=storage, folder=str(folder), url=server.url, clock=str(folder / "clock"))
    members[0].do("save", text=server.sign_in())
    for reply in together(members, "ask"):
        assert reply["got"] == "200", "the login is no good to begin with"
    server.clear()
    began = time.monotonic()
    for number in range(1, rotations + 1):
        if number % 5 == 0:
            # Its time is over: the client knows by its clock, and the server refuses it, too.
            clock.advance(7200.0)
            done.by_expiry += 1
        else:
            done.by_revocation += 1
        server.expire()
        some = list(members) if number % 10 in (0, 1) else dice.sample(list(members), dice.randint(1, len(members)))
        done.seen.update(reply["got"] for reply in together(some, "ask"))
        if number % STRIDE == 0 or number == rotations:
            # Looked at now and then: to ask a server in another process takes a while.
            requests, refused = server.token_requests()
            done.token_requests += requests
            done.refused += refused
            done.reuse_detections += server.reuse_detections()
            server.clear()
    done.seconds = time.monotonic() - began
    done.seen.update(reply["got"] for reply in together(members, "ask"))
    return done
