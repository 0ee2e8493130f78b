"""Unmodified code inside `isolated`: its storage, its person, its clock and its folder are the test's, and only there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
import trio

import mcp_login.sync
from mcp_login import (
    AuthorizationErrorResponse,
    FileStorage,
    LoginRequired,
    LoginTimeout,
    MemoryStorage,
    OAuth,
    PolicyError,
    TransportError,
    access_token,
    accounts,
    login,
)
from mcp_login.browser.opener import browser_available, open_browser
from mcp_login.browser.terminal import terminal_present
from mcp_login.storage.choose import default_storage
from mcp_login.storage.paths import data_path
from mcp_login.surroundings import stand_in
from mcp_login.testing import Clock, EmbeddedServer, Fault, Person, isolated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__: list[str] = []


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer().run() as running:
        yield running


def ask(url: str, auth: OAuth | None = None) -> httpx.Response:
    """What an agent of somebody's does, who knows nothing of tests."""
    with httpx.Client(auth=OAuth(url) if auth is None else auth, trust_env=False, verify=False, timeout=20) as http:
        return http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})


def test_code_that_names_nothing_logs_in_with_the_tests_person_and_storage(server: EmbeddedServer) -> None:
    with isolated() as isolation:
        assert ask(server.url).status_code == 200
        assert ask(server.url).status_code == 200
        assert len(isolation.person.urls) == len(server.authorizations) == 1
        assert mcp_login.sync.access_token(server.url) in server.secrets()
        assert default_storage() is isolation.storage


@pytest.mark.parametrize(
    "run",
    [
        lambda agent: asyncio.run(agent()),
        trio.run,
        lambda agent: anyio.run(agent, backend="asyncio"),
        # Its word for the caller's library must not reach the library's own loop.
        lambda agent: anyio.run(agent, backend="trio"),
    ],
    ids=["asyncio", "trio", "anyio on asyncio", "anyio on trio"],
)
def test_it_holds_on_any_event_loop(server: EmbeddedServer, run: Callable[[Any], bool]) -> None:
    async def agent() -> bool:
        credentials = await login(server.url)
        return credentials.access_token == await access_token(server.url)

    with isolated():
        assert run(agent)


def test_it_holds_in_every_thread(server: EmbeddedServer) -> None:
    answers: list[int] = []
    with isolated():
        threads = [threading.Thread(target=lambda: answers.append(ask(server.url).status_code)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert answers == [200] * 3
    assert len(server.authorizations) == 1


@pytest.mark.parametrize("variable", ["CI", "BUILDKITE"])
def test_a_person_is_there_whatever_the_environment_says(
    server: EmbeddedServer, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "true")
    with isolated():
        assert ask(server.url).status_code == 200


def test_the_browser_of_the_environment_is_not_started(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark = tmp_path / "started"
    script = tmp_path / "browser"
    script.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{script} %s")
    with isolated():
        assert browser_available()
        ask(server.url)
    assert not mark.exists()


def test_where_nobody_is_there_a_login_is_required(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER", "true %s")
    with isolated(person=Person("absent")) as isolation:
        assert not browser_available()
        assert not terminal_present()
        assert open_browser("http://127.0.0.1:1/") is False
        with pytest.raises(LoginRequired, match="test in which nobody is there"):
            ask(server.url)
        with pytest.raises(LoginRequired, match="no browser can be opened"):
            ask(server.url, OAuth(server.url, interactive=True))
        isolation.person.answer = "approve"
        assert ask(server.url).status_code == 200


def test_nothing_is_written_to_or_read_from_the_terminal_of_whoever_runs_the_test(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdin", Terminal("pasted\n"))
    assert terminal_present()
    with isolated():
        assert not terminal_present()
        assert ask(server.url).status_code == 200
    assert terminal.getvalue() == ""


def test_a_person_who_says_no_is_an_error_of_the_server(server: EmbeddedServer) -> None:
    with isolated(person=Person.denies()), pytest.raises(AuthorizationErrorResponse) as caught:
        ask(server.url)
    assert caught.value.error == "access_denied"


def test_a_window_that_is_closed_ends_the_login_at_once_with_its_own_limit(server: EmbeddedServer) -> None:
    began = time.monotonic()
    with isolated(person=Person.closes_the_window()), pytest.raises(LoginTimeout, match="closed the window") as caught:
        mcp_login.sync.login(server.url, callback_timeout=123)
    assert caught.value.seconds == 123
    assert time.monotonic() - began < 20


def test_a_page_that_leads_nowhere_ends_the_login_and_is_told_without_secrets(server: EmbeddedServer) -> None:
    with isolated() as isolation:
        server.faults.authorization_endpoint = Fault(status=400, body=b"<h1>No <i>such</i> client</h1>")
        with pytest.raises(LoginTimeout, match=r'HTTP 400: "No such client"') as caught:
            mcp_login.sync.login(server.url)
        (url,) = isolation.person.urls
    state = httpx.URL(url).params["state"]
    assert state not in str(caught.value)


def test_a_browser_that_reaches_nothing_ends_the_login() -> None:
    unreachable = {"authorization_endpoint": "http://127.0.0.1:1/authorize"}
    with (
        EmbeddedServer(server_metadata_overrides=unreachable).run() as server,
        isolated(),
        pytest.raises(LoginTimeout, match="the browser failed with URLError"),
    ):
        mcp_login.sync.login(server.url)


def test_a_slow_person_is_waited_for(server: EmbeddedServer) -> None:
    with isolated(person=Person.is_slow()) as isolation:
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(ask(server.url).status_code))
        thread.start()
        server.requests.wait_for("authorization")
        assert not answers
        isolation.person.answer = "approve"
        thread.join(20)
        assert answers == [200]


def test_a_person_can_be_slow_by_the_clock(server: EmbeddedServer) -> None:
    clock = Clock()
    with isolated(person=Person(after=60, clock=clock), clock=clock):
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(ask(server.url).status_code))
        thread.start()
        server.requests.wait_for("authorization")
        clock.advance(59)
        assert not clock.wait_until(clock() + 1, 0.05)
        assert not answers
        clock.advance(1)
        thread.join(20)
        assert answers == [200]


def test_after_needs_a_clock_and_answers_are_known() -> None:
    with pytest.raises(ValueError, match="clock="):
        Person(after=1)
    with pytest.raises(ValueError, match="absent, approve, close, deny, wait"):
        Person("perhaps")  # type: ignore[arg-type]


def test_one_clock_is_that_of_the_library_and_of_the_server_that_is_made_inside() -> None:
    with isolated(clock=Clock(1_000_000)) as isolation, EmbeddedServer().run() as server:
        assert mcp_login.sync.login(server.url).expires_at == 1_003_600
        isolation.clock.advance(3601)
        assert ask(server.url).status_code == 200
        assert server.count("token", grant_type="refresh_token") == 1
        assert len(isolation.person.urls) == 1


def test_the_list_and_the_files_of_logins_are_in_a_folder_of_the_tests_own(server: EmbeddedServer, home: Path) -> None:
    before = sorted(home.rglob("*"))
    with isolated() as isolation:
        storage = FileStorage()
        mcp_login.sync.login(server.url, storage=storage)
        assert [entry.server_url for entry in asyncio.run(accounts())] == [server.url]
        assert {path.name for path in isolation.home.iterdir()} >= {"index.json", "credentials"}
        assert data_path() == isolation.home
    assert not isolation.home.exists()
    assert sorted(home.rglob("*")) == before
    assert str(data_path()) == os.environ["MCP_LOGIN_HOME"]


def test_another_storage_can_be_the_default() -> None:
    mine = MemoryStorage()
    with isolated(storage=mine), EmbeddedServer().run() as server:
        ask(server.url)
    with isolated(storage=mine, person=Person("absent")):
        assert mcp_login.sync.access_token(server.url)


def test_two_blocks_share_nothing(server: EmbeddedServer) -> None:
    for _ in range(2):
        with isolated(person=Person.denies()), pytest.raises(AuthorizationErrorResponse):
            ask(server.url)
        # After a failure requests rest for half a minute: not those of another test.
        with isolated(), pytest.raises(LoginRequired):
            mcp_login.sync.access_token(server.url)
        for _ in range(3):
            with isolated():
                assert ask(server.url).status_code == 200
    assert len(server.authorizations) == 8


def test_after_the_block_all_is_as_it_was(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "memory")
    before = default_storage()
    with contextlib.suppress(ZeroDivisionError), isolated():
        assert default_storage() is not before
        raise ZeroDivisionError
    assert default_storage() is before
    assert stand_in() is None
    assert not browser_available()


def test_blocks_can_be_nested(server: EmbeddedServer) -> None:
    with isolated() as outer:
        with isolated(person=Person.denies()) as inner:
            assert default_storage() is inner.storage
            with pytest.raises(AuthorizationErrorResponse):
                ask(server.url)
        assert default_storage() is outer.storage
        assert ask(server.url).status_code == 200


def test_an_object_of_before_the_block_is_refused_inside(server: EmbeddedServer) -> None:
    early = OAuth(server.url)
    with isolated() as isolation:
        with pytest.raises(PolicyError, match="made outside the test"):
            ask(server.url, early)
        assert not isolation.person.urls


def test_an_object_of_the_block_is_refused_after_it(server: EmbeddedServer) -> None:
    with isolated():
        late = OAuth(server.url, interactive=True)
    with pytest.raises(PolicyError, match="used after that test"):
        ask(server.url, late)
    assert server.requests.endpoints == []


def test_a_login_that_is_still_open_ends_with_the_block(server: EmbeddedServer) -> None:
    outcome: list[BaseException] = []

    def agent() -> None:
        try:
            ask(server.url)
        except TransportError as error:
            outcome.append(error)

    with isolated(person=Person.is_slow()) as isolation:
        thread = threading.Thread(target=agent)
        thread.start()
        server.requests.wait_for("authorization")
        redirect = httpx.URL(isolation.person.urls[0]).params["redirect_uri"]
    thread.join(20)
    assert [str(error) for error in outcome] == ["The work was interrupted; what was stored is still there. Try again."]
    with pytest.raises(httpx.ConnectError):
        httpx.get(redirect, trust_env=False)
    assert len(isolation.person.pages) == 1
    # The person closed that window, and is no other than before.
    with isolated(person=isolation.person):
        isolation.person.answer = "approve"
        assert ask(server.url).status_code == 200


def test_the_library_can_reach_a_server_in_process() -> None:
    server = EmbeddedServer()

    async def agent() -> int:
        credentials = await login(server.url)
        async with server.http_client() as http:
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            headers = {"Authorization": credentials.authorization}
            return (await http.post(server.url, json=body, headers=headers)).status_code

    with isolated(person=Person(server=server), http_client=server.http_client):
        assert asyncio.run(agent()) == 200
    assert len(server.authorizations) == 1


def test_a_person_is_shown_without_what_they_opened() -> None:
    person: Any = Person()
    assert repr(person) == "Person('approve', opened=0)"
