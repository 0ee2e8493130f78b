"""Arbitrary interleavings of what happens to a login, and what holds whatever they are.

Two servers, and for each three programs that share one storage as processes do: each has an `OAuth` and a storage object of
its own, so that only the lock and the stored text are common. In process, with a clock that is moved.

DESIGN section 3, "Refreshing", "Tokens", "People"; FIELD-NOTES, "Refresh", "Concurrency".
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

import mcp_login.sync
from mcp_login import InvalidResponse, LoginRequired, MemoryStorage, OAuth, TransportError
from mcp_login.testing import Clock, EmbeddedServer, Fault, Person, isolated
from mcp_login.testing.application import ConnectionDropped
from tests.flows.support import HEADERS, call, message, stored

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from mcp_login.storage.record import Record
    from mcp_login.testing import RecordedRequest
    from mcp_login.testing.configuration import Settings

__all__: list[str] = []

LIFE = 3600.0
#: For so long after its rotation the servers take a refresh token once more (Linear: 30 minutes).
GRACE = 60.0
#: What happens before a request, and how many seconds it takes.
MEANWHILE = {"nothing": 0.0, "revoked": 1.0, "nearly expired": LIFE - 40, "expired": LIFE + 1, "lost for long": GRACE}
WHICH = st.integers(0, 1)
PROGRAMS = ("first", "second", "quiet")


def is_refresh(request: RecordedRequest) -> bool:
    return request.params.get("grant_type") == "refresh_token"


#: One revokes the old access tokens at a refresh (Notion), one never names the scopes it wants (the MCP SDK).
QUIRKS: dict[int, Settings] = {
    8001: {"refresh_revokes_access_tokens": True},
    8002: {"challenge_scope": False, "scopes_supported": ("mcp", "secret:read")},
}

#: What goes wrong at the token endpoint, and whether the server has rotated the token by then.
FAULTS: dict[str, dict[str, Any]] = {
    "reset": {"reset": True},
    "reset after acting": {"reset": True, "after_acting": True},
    "truncated": {"truncate": True},
    "503": {"status": 503},
    "503 after acting": {"status": 503, "after_acting": True},
    "429": {"status": 429, "retry_after": 60},
    "temporarily_unavailable": {"error": "temporarily_unavailable"},
    "garbage": {"body": b"<html>Welcome</html>"},
    "garbage after acting": {"body": b'{"access_token": "a', "after_acting": True},
}
ACTING = {name for name, fault in FAULTS.items() if fault.get("after_acting") or fault.get("truncate")}


class View:
    """One process's storage object over what all share."""

    name = "memory"

    def __init__(self, shared: MemoryStorage) -> None:
        self._shared = shared

    def load_now(self, key: str, timeout: float) -> str | None:
        return self._shared.load_now(key, timeout)

    async def load(self, key: str) -> str | None:
        await asyncio.sleep(0)
        return await self._shared.load(key)

    async def save(self, key: str, value: str) -> None:
        await asyncio.sleep(0)
        await self._shared.save(key, value)

    async def delete(self, key: str) -> None:
        await self._shared.delete(key)

    async def compare_and_set(self, key: str, expected: str | None, value: str | None) -> bool:
        return await self._shared.compare_and_set(key, expected, value)

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        return self._shared.lock(key)


class Wire(httpx.AsyncBaseTransport):
    """Leads to each server in process by its port, and counts the refreshes that are under way."""

    def __init__(self, servers: list[EmbeddedServer], refreshing: set[str], clashes: list[str]) -> None:
        self._apps = {httpx.URL(server.origin).port: httpx.ASGITransport(app=server.app) for server in servers}
        self._refreshing = refreshing
        self._clashes = clashes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async with self._watched(request):
            try:
                return await self._apps[request.url.port].handle_async_request(request)
            except ConnectionDropped as dropped:
                raise httpx.ReadError(str(dropped), request=request) from None

    @contextlib.asynccontextmanager
    async def _watched(self, request: httpx.Request) -> Any:
        place = str(request.url)
        if b"grant_type=refresh_token" not in await request.aread():
            yield
            return
        if place in self._refreshing:
            self._clashes.append(place)
        self._refreshing.add(place)
        try:
            for _ in range(5):  # others get a chance to do the same
                await asyncio.sleep(0)
            yield
        finally:
            self._refreshing.discard(place)


class Place:
    """A server, the programs that use it, and what is known of their login."""

    def __init__(self, server: EmbeddedServer, clock: Clock) -> None:
        self.server = server
        self.clock = clock
        self.person = Person.approves(server=server)
        self.shared = MemoryStorage()
        self.views = {name: View(self.shared) for name in PROGRAMS}
        self.auths = {
            name: OAuth(
                server.url,
                storage=view,
                interactive=name != "quiet",
                on_authorization_url=self.person,
                callback_timeout=10,
            )
            for name, view in self.views.items()
        }
        #: Whether the server knows of no reason to refuse the stored refresh token, but for its rotation.
        self.alive = False
        #: When that was rotated in an answer that nobody got.
        self.rotated_at: float | None = None
        self.reuse_detections = 0

    @property
    def record(self) -> Record | None:
        return stored(self.shared, self.server.url)

    @property
    def is_accepted(self) -> bool:
        """Whether the server would take the refresh token that is stored."""
        in_time = self.rotated_at is None or self.clock() - self.rotated_at < GRACE
        return self.alive and in_time and self.record is not None

    def refreshes(self) -> int:
        return self.server.count("token", grant_type="refresh_token")

    def windows(self, tool: str | None) -> int:
        """How many windows a request may open at most."""
        record = self.record
        lacks_scope = record is None or not self.is_accepted or "secret:read" not in record.granted_scopes
        return int(not self.is_accepted) + int(tool == "secret" and lacks_scope)


@dataclasses.dataclass(frozen=True)
class Before:
    """How things were before a step."""

    record: Record | None
    accepted: bool
    windows: int
    refreshes: int

    @classmethod
    def of(cls, place: Place) -> Before:
        return cls(place.record, place.is_accepted, len(place.person.urls), place.refreshes())


class SessionMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        clock = Clock()
        self.clock = clock
        #: The token endpoints with a refresh under way, and those that got a second one meanwhile.
        self.refreshing: set[str] = set()
        self.clashes: list[str] = []
        self.servers = [
            EmbeddedServer(
                clock=clock,
                origin=f"http://127.0.0.1:{port}",
                authorization_server_origin=f"http://127.0.0.1:{port}",
                access_token_lifetime=LIFE,
                rotation_grace=GRACE,
                auto_approve=True,
            )
            for port in QUIRKS
        ]
        for server, quirks in zip(self.servers, QUIRKS.values(), strict=True):
            server.reconfigure(**quirks)
        self.stack.enter_context(isolated(clock=clock, http_client=self.client))
        self.places = [Place(server, clock) for server in self.servers]
        for place in self.places:
            place.server.sign_in(place.shared, scopes="mcp")
            place.alive = True

    def client(self, auth: OAuth | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=Wire(self.servers, self.refreshing, self.clashes), auth=auth, timeout=20)

    def send(
        self, place: Place, programs: list[str], url: str, body: dict[str, Any], leaver: str | None = None
    ) -> list[int | Exception]:
        """What each of `programs` gets that sends `body` to `url`, all at once, while `leaver` logs out."""

        async def one(program: str) -> int:
            async with self.client(place.auths[program]) as client:
                return (await client.post(url, json=body, headers=HEADERS)).status_code

        async def leave() -> int:
            if leaver is not None:
                await mcp_login.logout(place.server.url, storage=place.views[leaver])
            return 0

        async def all_of_them() -> list[int | BaseException]:
            return (await asyncio.gather(leave(), *map(one, programs), return_exceptions=True))[1:]

        outcomes: list[int | Exception] = []
        for outcome in asyncio.run(all_of_them()):
            assert isinstance(outcome, int | Exception)
            outcomes.append(outcome)
        return outcomes

    # What happens

    @rule(
        which=WHICH,
        programs=st.lists(st.sampled_from(PROGRAMS), min_size=1, max_size=5),
        meanwhile=st.sampled_from([*MEANWHILE, "nothing"]),
        tool=st.sampled_from([None, None, None, "secret"]),
        fault=st.sampled_from([None, None, None, *FAULTS]),
        times=st.integers(1, 3),
    )
    def request(
        self, which: int, programs: list[str], meanwhile: str, tool: str | None, fault: str | None, times: int
    ) -> None:
        """Some programs send a request at once, and the token endpoint may have a bad day."""
        place = self.places[which]
        self.time_passes(MEANWHILE.get(meanwhile, 0.0))
        if meanwhile == "revoked":
            place.server.revoke_access_tokens()
        before, allowed = Before.of(place), place.windows(tool)
        if fault is not None:
            place.server.faults.token_endpoint = Fault(**FAULTS[fault], times=times, when=is_refresh)
        body = message() if tool is None else call(tool)
        outcomes = self.send(place, programs, place.server.url, body)
        place.server.faults.clear()
        self.learn(place, before, acted=fault in ACTING)

        opened = len(place.person.urls) - before.windows
        assert opened <= allowed
        if set(programs) == {"quiet"}:
            assert opened == 0
        for program, outcome in zip(programs, outcomes, strict=True):
            if fault is None and program != "quiet":
                assert outcome == 200
            elif isinstance(outcome, LoginRequired):
                assert program == "quiet"
                assert allowed > 0
            elif isinstance(outcome, Exception):
                assert fault is not None
                assert isinstance(outcome, TransportError | InvalidResponse)
            else:
                assert outcome == 200

    @rule(which=WHICH, fault=st.sampled_from([None, None, *FAULTS]))
    def ask_for_a_token(self, which: int, fault: str | None) -> None:
        """A program that never asks anybody wants a token that is good for a while."""
        place = self.places[which]
        before = Before.of(place)
        if fault is not None:
            place.server.faults.token_endpoint = Fault(**FAULTS[fault], when=is_refresh)
        try:
            mcp_login.sync.access_token(place.server.url, storage=place.views["quiet"], min_valid_for=120.0)
        except LoginRequired:
            assert not before.accepted
        except (TransportError, InvalidResponse):
            assert fault is not None
        place.server.faults.clear()
        self.learn(place, before, acted=fault in ACTING)
        assert len(place.person.urls) == before.windows

    @rule(seconds=st.sampled_from([GRACE / 2, GRACE + 1, LIFE / 2]))
    def time_passes(self, seconds: float) -> None:
        """Tokens come near their end, or pass it."""
        self.clock.advance(seconds)

    @rule(which=WHICH, program=st.sampled_from(PROGRAMS), by_the_server=st.booleans(), really=st.integers(0, 2))
    def a_login_ends(self, which: int, program: str, by_the_server: bool, really: int) -> None:
        """One program logs out, and so all are; or the server revokes the refresh token, and the access token lives on."""
        place = self.places[which]
        if really < 2:
            return
        if by_the_server:
            place.server.revoke_refresh_tokens()
            place.alive = False
            return
        mcp_login.sync.logout(place.server.url, storage=place.views[program])
        assert place.record is None
        place.alive, place.rotated_at = False, None

    @rule(
        which=WHICH,
        leaver=st.sampled_from(PROGRAMS),
        programs=st.lists(st.sampled_from(PROGRAMS), min_size=1, max_size=3),
        meanwhile=st.sampled_from(["nearly expired", "expired", "revoked"]),
        really=st.integers(0, 2),
    )
    def a_login_ends_in_the_midst_of_requests(
        self, which: int, leaver: str, programs: list[str], meanwhile: str, really: int
    ) -> None:
        """One program logs out while others refresh: none of them brings the login back, and a person may be asked for one."""
        place = self.places[which]
        if really < 2:
            return
        self.time_passes(MEANWHILE[meanwhile])
        if meanwhile == "revoked":
            place.server.revoke_access_tokens()
        before, reused = Before.of(place), place.server.reuse_detections
        allowed = 1 + sum(program != "quiet" for program in programs)
        outcomes = self.send(place, programs, place.server.url, message(), leaver)
        opened = len(place.person.urls) - before.windows
        assert opened <= allowed
        assert all(isinstance(outcome, LoginRequired) or outcome in (200, 401) for outcome in outcomes), outcomes
        if opened == 0:
            assert place.record is None
        place.alive, place.rotated_at = place.record is not None, None
        place.reuse_detections += place.server.reuse_detections - reused if before.record and not before.accepted else 0

    @rule(which=WHICH, program=st.sampled_from(PROGRAMS), other=st.booleans())
    def stray(self, which: int, program: str, other: bool) -> None:
        """A client with this login goes elsewhere: to another server, or beside the resource."""
        place = self.places[which]
        target = self.servers[1 - which] if other else place.server
        before = len(target.requests)
        self.send(place, [program], target.url if other else f"{target.origin}/elsewhere", message())
        assert [request.access_token for request in list(target.requests)[before:]] == [None]

    # What is known afterwards, and what always holds

    def learn(self, place: Place, before: Before, *, acted: bool) -> None:
        """What a step with requests has changed at the server."""
        offered = place.refreshes() > before.refreshes
        record = place.record
        if before.accepted:
            # Tokens are never lost while the server would take them.
            assert record is not None
            assert record.refresh_token is not None
        elif place.alive and place.rotated_at is not None and place.server.reuse_detections > place.reuse_detections:
            # The only copy of the new token was destroyed on the wire, and the grace is over: this is how it is found out, once.
            place.reuse_detections += 1
            place.alive, place.rotated_at = False, None
        if len(place.person.urls) > before.windows:
            place.alive, place.rotated_at = True, None
        elif record is not None and before.record is not None and record.refresh_token != before.record.refresh_token:
            place.rotated_at = None
        elif offered and acted and place.rotated_at is None:
            place.rotated_at = self.clock()

    @invariant()
    def no_two_refreshes_are_in_flight(self) -> None:
        assert self.clashes == []

    @invariant()
    def no_refresh_token_is_offered_after_its_rotation(self) -> None:
        assert [place.server.reuse_detections for place in self.places] == [
            place.reuse_detections for place in self.places
        ]

    @invariant()
    def no_token_goes_to_another_server(self) -> None:
        one, other = self.servers
        for server, foreign in ((one, other.secrets()), (other, one.secrets())):
            for request in server.requests:
                assert request.access_token not in foreign
                assert foreign.isdisjoint(request.params.values())

    def teardown(self) -> None:
        """In the end every login that the server would renew is renewed, without a person."""
        try:
            for place in self.places:
                accepted = place.is_accepted
                place.server.expire_access_tokens()
                [outcome] = self.send(place, ["quiet"], place.server.url, message())
                if accepted:
                    assert outcome == 200
        finally:
            self.stack.close()


@pytest.mark.timeout(120)
def test_whatever_happens_in_whatever_order_no_login_is_lost_and_nobody_is_asked_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcp_login.network.retry.PAUSES", (0.0, 0.0))
    run_state_machine_as_test(SessionMachine, settings=settings(max_examples=80, stateful_step_count=30))
