"""The network between client and token endpoint breaks at every byte of a refresh, in every way.

The login is lost only where the server had rotated and the one copy of the new token was destroyed on its way; then one login
brings it back. Never a browser window without an `invalid_grant` of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from mcp_login import MemoryStorage, OAuth, access_token
from mcp_login.errors import AuthError
from mcp_login.portal import portal
from mcp_login.storage.record import Record, record_key
from mcp_login.testing import Person
from tests.flows.fault_proxy import KINDS, Fault, FaultProxy, Kind
from tests.flows.support import HEADERS, message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from mcp_login.testing import EmbeddedServer
    from tests.flows.conftest import Serve

__all__: list[str] = []

#: How many are under way at once.
BATCH = 40


class LibraryClock:
    """Moves the clock of the library's own loop on: its time limits and pauses pass without a wait."""

    def __init__(self) -> None:
        self._ahead = 0.0

    async def __aenter__(self) -> LibraryClock:
        await asyncio.wrap_future(portal().submit(self._install))
        return self

    async def __aexit__(self, *exc: object) -> None:
        # It stays as far ahead as it is: timers were set by it, and time doesn't go back.
        pass

    async def _install(self) -> None:
        self._loop: Any = asyncio.get_running_loop()
        clock = self._loop.time
        self._loop.time = lambda: clock() + self._ahead  # type: ignore[method-assign]

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass there."""
        self._ahead += seconds
        self._loop.call_soon_threadsafe(lambda: None)


@dataclass
class Case:
    """One login, one fault, and what came of it."""

    fault: Fault
    name: str
    storage: MemoryStorage
    before: Record
    first: str = ""
    second: str = ""
    texts: list[str] = dataclasses.field(default_factory=list)
    #: How often the server gave tokens for the stored refresh token, and refused it.
    given: int = 0
    refused: int = 0


class Line:
    """A server, a proxy before its token endpoint, and programs that refresh through it."""

    def __init__(self, server: EmbeddedServer, proxy: FaultProxy, clock: LibraryClock) -> None:
        self.server = server
        self.proxy = proxy
        self._clock = clock
        self._count = 0

    def case(self, fault: Fault) -> Case:
        """A login that has expired, whose refresh will meet `fault`."""
        self._count += 1
        name = str(self._count).zfill(6)
        storage = MemoryStorage()
        self.server.sign_in(storage)
        key = record_key(self.server.url, None)
        text = storage.load_now(key, 5.0)
        assert text is not None
        record = Record.parse(text)
        assert record.expires_at is not None
        record = dataclasses.replace(
            record,
            expires_at=record.expires_at - 7200,
            obtained_at=record.obtained_at - 7200,
            token_endpoint=self.proxy.url(name),
        )
        self.proxy.faults[name] = fault
        return Case(fault, name, storage, record)

    async def lengths(self) -> tuple[int, int]:
        """How long a request and its answer are, in bytes."""
        case = self.case(Fault("delay", "answer", 0))
        await self.run([case])
        assert case.first == "token"
        return self.proxy.request_length, self.proxy.answer_length

    async def run(self, cases: list[Case]) -> None:
        """Two calls of each, all at once; no time limit is waited for."""
        self.server.requests.clear()
        tasks = {asyncio.create_task(self._twice(case)) for case in cases}
        deadline = time.monotonic() + 60
        while tasks:
            _, tasks = await asyncio.wait(tasks, timeout=0.005)
            assert time.monotonic() < deadline, "a refresh is stuck"
            if self.proxy.busy == 0:
                self.proxy.release()
                self._clock.advance(0.2)
        for case in cases:
            token = case.before.refresh_token or ""
            answers = [one.status for one in self.server.requests.matching("token", refresh_token=token)]
            case.given, case.refused = answers.count(200), answers.count(400)

    async def _twice(self, case: Case) -> None:
        await case.storage.save(case.before.key, case.before.dump())
        case.first = await self._call(case)
        self.proxy.faults.pop(case.name, None)
        case.second = await self._call(case)

    async def _call(self, case: Case) -> str:
        try:
            token = await access_token(self.server.url, storage=case.storage)
        except AuthError as error:
            case.texts.append(str(error))
            return type(error).__name__
        return "token" if token != case.before.access_token else "the old token"


@contextlib.asynccontextmanager
async def line(server: EmbeddedServer) -> AsyncIterator[Line]:
    """`server` behind a proxy."""
    async with FaultProxy(server.endpoint("token")) as proxy, LibraryClock() as clock:
        yield Line(server, proxy, clock)


async def walk(server: EmbeddedServer, faults: Callable[[int, int], Iterable[Fault]]) -> list[Case]:
    """The cases of all `faults` for a request and an answer of these lengths."""
    async with line(server) as wire:
        cases = [wire.case(fault) for fault in faults(*await wire.lengths())]
        for begin in range(0, len(cases), BATCH):
            await wire.run(cases[begin : begin + BATCH])
    return cases


#: What a person can do about it.
ADVICE = re.compile(r"[Tt]ry again|[Cc]heck |[Ll]og in|`mcp-login login|stays stored")


def check(cases: list[Case], server: EmbeddedServer) -> Counter[str]:
    """What holds for every fault; how often each end came."""
    secrets = server.secrets()
    for case in cases:
        said = f"{case.fault}: {case.first}, {case.second}, given {case.given}, refused {case.refused}: {case.texts}"
        ends = {case.first, case.second}
        assert ends <= {"token", "TransportError", "InvalidResponse", "LoginRequired"}, said
        if "LoginRequired" in ends:
            assert case.refused, f"a login without invalid_grant: {said}"
            assert case.given, f"the server had not rotated: {said}"
        else:
            assert case.second == "token", said
        assert all(ADVICE.search(text) for text in case.texts), said
        assert not any(secret in text for text in case.texts for secret in secrets), "a secret in an error"
    return Counter("lost" if "LoginRequired" in (case.first, case.second) else "kept" for case in cases)


@pytest.mark.anyio
@pytest.mark.timeout(170)
async def test_a_request_that_does_not_reach_the_server_whole_loses_nothing(serve: Serve) -> None:
    server = serve()
    cases = await walk(
        server,
        lambda request, _: [
            # Every third byte, another third for each kind: every byte is met by two.
            Fault(kind, "request", position)
            for kind in KINDS
            for position in range(KINDS.index(kind) % 3, request, 3)
        ],
    )
    assert len(cases) > 500
    ends = check(cases, server)
    assert set(ends) == {"kept"}
    # One attempt that meets silence takes all the time there is for two.
    assert all(case.first == "token" for case in cases if case.fault.kind != "drop")
    assert server.reuse_detections == 0


@pytest.mark.anyio
@pytest.mark.timeout(170)
async def test_an_answer_that_breaks_at_any_byte_costs_one_login_at_most(serve: Serve) -> None:
    server = serve()
    cases = await walk(
        server,
        lambda _, answer: [Fault(kind, "answer", position) for kind in KINDS for position in range(answer + 1)],
    )
    assert len(cases) > 1800
    ends = check(cases, server)
    assert ends["lost"]
    # What came in the end, however late, is not lost.
    assert all(case.first == "token" for case in cases if case.fault.kind == "delay")


@pytest.mark.anyio
async def test_a_server_that_gives_grace_for_a_lost_answer_loses_nobody(serve: Serve) -> None:
    server = serve(rotation_grace=3600)
    cases = await walk(
        server,
        lambda _, answer: [Fault(kind, "answer", position) for kind in KINDS for position in range(0, answer, 29)],
    )
    assert set(check(cases, server)) == {"kept"}
    assert all(case.first == "token" for case in cases)


@pytest.mark.anyio
@pytest.mark.parametrize("grace", [0.0, 3600.0])
async def test_a_network_that_stays_broken_is_told_as_that_and_asks_nobody_to_log_in(
    serve: Serve, grace: float
) -> None:
    server = serve(rotation_grace=grace)
    cases = await walk(
        server,
        lambda _, answer: [
            Fault(kind, "answer", position, always=True)
            for kind in KINDS
            for position in range(0, answer, 13)
            if kind != "delay"
        ],
    )
    ends = check(cases, server)
    # Without grace the second answer is a refusal, which is shorter: some of those come through.
    told = {"TransportError", "InvalidResponse"} | (set() if grace else {"LoginRequired"})
    assert {case.first for case in cases} == told
    assert set(ends) == ({"kept"} if grace else {"lost"})


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["reset", "truncate", "503", "garbage"])
async def test_a_lost_login_is_back_after_one_window(serve: Serve, kind: Kind) -> None:
    server = serve(auto_approve=True)
    async with line(server) as wire:
        _, length = await wire.lengths()
        for position in (0, length // 3, length - 1):
            case = wire.case(Fault(kind, "answer", position))
            await case.storage.save(case.before.key, case.before.dump())
            person = Person.approves()
            auth = OAuth(server.url, storage=case.storage, interactive=True, on_authorization_url=person)
            statuses = []
            for _ in range(2):
                with contextlib.suppress(AuthError):
                    async with httpx.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=20) as client:
                        answer = await client.post(server.url, json=message(), headers=HEADERS)
                    statuses.append(answer.status_code)
            person.join()
            assert statuses[-1] == 200, (kind, position)
            assert len(person.urls) == 1, (kind, position)
