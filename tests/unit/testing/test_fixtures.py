"""What the plugin's fixtures give to a test that asks for them, and what its markers change. `agent` knows nothing of tests."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

import mcp_login.sync
from mcp_login import (
    AuthorizationErrorResponse,
    Credentials,
    LoginRequired,
    LoginTimeout,
    OAuth,
    Storage,
    access_token,
    login,
)
from mcp_login.storage.choose import default_storage
from mcp_login.surroundings import stand_in
from mcp_login.testing import Clock, Configuration, EmbeddedServer, Isolation, Person

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

Servers = Callable[..., EmbeddedServer]

FIXTURES = ["isolated", "storage", "clock", "person", "server", "servers", "signed_in"]
ENDINGS = {"deny": AuthorizationErrorResponse, "close": LoginTimeout, "absent": LoginRequired}


def agent(url: str, tool: str | None = None, account: str | None = None) -> int:
    """Asks an MCP server for its tools, or for one of them."""
    asked = {"method": "tools/call", "params": {"name": tool}} if tool else {"method": "tools/list"}
    with httpx.Client(auth=OAuth(url, account=account), trust_env=False, verify=False, timeout=20) as http:
        return http.post(url, json={"jsonrpc": "2.0", "id": 1, **asked}).status_code


def begun(url: str) -> tuple[threading.Thread, list[int]]:
    """The agent in a thread, and what comes of it."""
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(agent(url)))
    thread.start()
    return thread, answers


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a job that has nobody to ask, whose logins would be kept."""
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")


def test_a_test_that_asks_for_a_server_only_is_isolated(
    environment: None, mcp_login_server: EmbeddedServer, home: Path
) -> None:
    assert os.environ["CI"] == "true"
    assert agent(mcp_login_server.url) == 200
    assert len(mcp_login_server.authorizations) == 1
    assert [path.name for path in home.rglob("*")] == ["runtime"]


@pytest.mark.parametrize("name", FIXTURES)
def test_every_fixture_implies_the_isolation(name: str, request: pytest.FixtureRequest) -> None:
    assert stand_in() is None
    request.getfixturevalue(f"mcp_login_{name}")
    assert stand_in() is not None


def test_nothing_is_isolated_in_a_test_without_them() -> None:
    assert stand_in() is None


def test_the_fixtures_of_a_test_belong_together(
    mcp_login_isolated: Isolation,
    mcp_login_storage: Storage,
    mcp_login_clock: Clock,
    mcp_login_person: Person,
    mcp_login_server: EmbeddedServer,
) -> None:
    assert mcp_login_storage is mcp_login_isolated.storage is default_storage()
    assert mcp_login_person is mcp_login_isolated.person
    assert mcp_login_server.clock is mcp_login_clock is mcp_login_isolated.clock
    assert abs(mcp_login_clock() - time.time()) < 60


@pytest.mark.parametrize("turn", ["one", "other"])
def test_they_are_new_for_each_test(turn: str, mcp_login_server: EmbeddedServer, mcp_login_person: Person) -> None:
    assert mcp_login_server.requests.endpoints == []
    assert agent(mcp_login_server.url) == 200
    assert len(mcp_login_person.urls) == 1


@pytest.mark.mcp_login_server(mcp_path="/class", rotation=False)
class TestSettings:
    def test_a_class_has_settings(self, mcp_login_server: EmbeddedServer) -> None:
        assert mcp_login_server.url.endswith("/class")

    @pytest.mark.mcp_login_server(Configuration(required_scopes=("a", "b")), mcp_path="/own")
    def test_its_tests_have_their_own_besides(self, mcp_login_server: EmbeddedServer) -> None:
        settings = mcp_login_server.configuration
        assert (settings.mcp_path, settings.rotation, settings.required_scopes) == ("/own", False, ("a", "b"))


@pytest.mark.mcp_login_person("deny")
def test_a_person_does_what_the_marker_says(mcp_login_server: EmbeddedServer) -> None:
    with pytest.raises(AuthorizationErrorResponse):
        agent(mcp_login_server.url)


@pytest.mark.mcp_login_person(wrong_state_first=True)
def test_a_marker_has_the_other_keywords_too(mcp_login_server: EmbeddedServer) -> None:
    assert agent(mcp_login_server.url) == 200


@pytest.mark.parametrize("mcp_login_person", ENDINGS, indirect=True)
def test_a_person_can_be_a_parameter(mcp_login_server: EmbeddedServer, mcp_login_person: Person) -> None:
    with pytest.raises(ENDINGS[mcp_login_person.answer]):
        agent(mcp_login_server.url)


def test_a_person_can_think_again(
    mcp_login_server: EmbeddedServer, mcp_login_person: Person, mcp_login_clock: Clock
) -> None:
    mcp_login_person.answer = "deny"
    with pytest.raises(AuthorizationErrorResponse):
        agent(mcp_login_server.url)
    mcp_login_person.answer = "approve"
    # Requests don't ask again right after a failure.
    mcp_login_clock.advance(31)
    assert agent(mcp_login_server.url) == 200


@pytest.mark.mcp_login_person("wait")
def test_a_slow_person_goes_on_when_told(mcp_login_server: EmbeddedServer, mcp_login_person: Person) -> None:
    thread, answers = begun(mcp_login_server.url)
    mcp_login_server.requests.wait_for("authorization")
    assert not answers
    mcp_login_person.answer = "approve"
    thread.join(20)
    assert answers == [200]


@pytest.mark.mcp_login_person(after=60)
def test_a_slow_person_goes_on_when_it_is_time(mcp_login_server: EmbeddedServer, mcp_login_clock: Clock) -> None:
    thread, answers = begun(mcp_login_server.url)
    mcp_login_server.requests.wait_for("authorization")
    assert not answers
    mcp_login_clock.advance(60)
    thread.join(20)
    assert answers == [200]


@pytest.mark.mcp_login_person("absent")
def test_a_test_can_begin_signed_in(
    mcp_login_server: EmbeddedServer, mcp_login_signed_in: Credentials, mcp_login_clock: Clock
) -> None:
    assert agent(mcp_login_server.url) == 200
    assert mcp_login_server.requests.endpoints == ["mcp"]
    assert mcp_login_server.requests[0].access_token == mcp_login_signed_in.access_token
    mcp_login_clock.advance(3601)
    assert agent(mcp_login_server.url) == 200
    assert mcp_login_server.count("token", grant_type="refresh_token") == 1


@pytest.mark.mcp_login_signed_in(account="work", scopes="secret:read")
@pytest.mark.mcp_login_person("absent")
def test_a_marker_says_which_login(mcp_login_server: EmbeddedServer, mcp_login_signed_in: Credentials) -> None:
    assert agent(mcp_login_server.url, "secret", account="work") == 200
    assert (mcp_login_signed_in.account, mcp_login_signed_in.scopes) == ("work", ("secret:read", "mcp"))


def test_there_can_be_several_servers(mcp_login_servers: Servers, mcp_login_clock: Clock) -> None:
    first, second = mcp_login_servers(), mcp_login_servers(mcp_path="/other")
    assert agent(first.url) == agent(second.url) == 200
    assert first.clock is second.clock is mcp_login_clock
    assert (len(first.authorizations), len(second.authorizations)) == (1, 1)


def test_several_servers_can_share_an_authorization_server(mcp_login_servers: Servers) -> None:
    shared = mcp_login_servers()
    behind = [mcp_login_servers(authorization_server=shared) for _ in range(2)]
    assert [agent(server.url) for server in behind] == [200, 200]
    assert (shared.count("registration"), len(shared.authorizations)) == (1, 2)


@pytest.mark.anyio
async def test_asynchronous_tests_have_the_same(
    mcp_login_server: EmbeddedServer, mcp_login_signed_in: Credentials
) -> None:
    url = mcp_login_server.url
    assert await access_token(url) == mcp_login_signed_in.access_token
    assert mcp_login_server.sign_in(account="other").account == "other"
    mcp_login_server.revoke_access_tokens()
    assert (await login(url, force=True)).access_token == await access_token(url)


def test_so_has_trio(mcp_login_server: EmbeddedServer) -> None:
    async def main() -> bool:
        credentials = await login(mcp_login_server.url)
        return credentials.access_token == await access_token(mcp_login_server.url)

    assert trio.run(main)


def test_the_next_test_has_neither_login_nor_failure_of_the_last(mcp_login_person: Person) -> None:
    assert mcp_login_person.answer == "approve"
    with EmbeddedServer().run() as server, pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url)


@pytest.mark.mcp_login_signed_in(account="work")
def test_a_marker_brings_its_fixture(request: pytest.FixtureRequest) -> None:
    # the server only: that there is a login is the marker's doing
    server = request.getfixturevalue("mcp_login_server")
    assert mcp_login.sync.access_token(server.url, account="work")
    assert server.requests.endpoints == []


@pytest.mark.mcp_login_person("deny")
class TestMarkers:
    def test_one_of_a_class_does_too(self) -> None:
        person = stand_in()
        assert person is not None
        with EmbeddedServer().run() as server, pytest.raises(AuthorizationErrorResponse):
            agent(server.url)

    @pytest.mark.parametrize("path", [pytest.param("/own", marks=pytest.mark.mcp_login_server(mcp_path="/own"))])
    def test_and_one_of_a_parameter(self, request: pytest.FixtureRequest, path: str) -> None:
        assert "mcp_login_server" in request.fixturenames
        assert request.getfixturevalue("mcp_login_server").url.endswith(path)
