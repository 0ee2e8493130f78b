"""Bad input: each its own error with a cause and a next step, and nothing that was stored is lost.

"a URL that is neither https nor loopback, a server that isn't there, needs no login, has no metadata, has broken
metadata, a denied consent, a closed browser (time-out), a taken port, a locked or missing keychain".
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from keyring.errors import KeyringLocked, NoKeyringError

import mcp_login.sync
from mcp_login import (
    AuthError,
    AuthorizationErrorResponse,
    FileStorage,
    InvalidResponse,
    IssuerMismatch,
    KeychainStorage,
    LoginNotNeeded,
    LoginRequired,
    LoginTimeout,
    MemoryStorage,
    OAuth,
    PolicyError,
    RedirectPortTaken,
    RegistrationRequired,
    StorageLocked,
    StorageUnavailable,
    TransportError,
)
from mcp_login.testing import EmbeddedServer, Fault, Person
from tests.flows.support import Login, login_of, stored
from tests.unit.storage.keyrings import FailingKeyring

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.flows.conftest import Serve

__all__: list[str] = []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/mcp",
        "http://10.0.0.1/mcp",
        "http://127.0.0.1.example.com/mcp",
        "ftp://127.0.0.1/mcp",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "ws://127.0.0.1/mcp",
        "example.com/mcp",
        "/mcp",
        "",
        "https://",
        "https:///mcp",
        "https://user:pass@example.com/mcp",
        "https://example.com/mcp#fragment",
        "https://example.com/m cp",
        "https://example.com/mcp\n",
        "https://example.com\\mcp",
        "https://[::1/mcp",
        "https://example.com:99999/mcp",
    ],
)
def test_a_url_that_can_be_no_server_is_refused_before_anything_is_sent(url: str) -> None:
    storage = MemoryStorage()
    for call in (
        OAuth,
        mcp_login.sync.login,
        mcp_login.sync.access_token,
        mcp_login.sync.logout,
    ):
        function: Callable[..., Any] = call
        with pytest.raises(PolicyError) as caught:
            function(url, storage=storage)
        assert len(str(caught.value)) > 20
        assert "pass" not in str(caught.value).replace("password", "").replace("passwd", "")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("{origin}:80/", None), ("HTTP://LOCALHOST:{port}/mcp", "http://localhost:{port}/mcp")],
)
def test_spellings_of_one_url_are_one_login(given: str, meant: str | None, serve: Serve, person: Person) -> None:
    """DESIGN: scheme and host in lower case, a lone `/` dropped."""
    server = serve()
    port = server.origin.rpartition(":")[2]
    if meant is None:
        given, meant = "https://EXAMPLE.com:443/", "https://example.com"
    assert meant.format(port=port) in repr(
        OAuth(given.format(port=port, origin=server.origin), storage=MemoryStorage())
    )


@dataclass
class Bad:
    """What is wrong, and what has to be said."""

    error: type[AuthError]
    says: str
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    person: Callable[[], Person] = Person.approves
    prepare: Callable[[EmbeddedServer], None] = lambda server: None


def _status(status: int) -> Callable[[EmbeddedServer], None]:
    def prepare(server: EmbeddedServer) -> None:
        server.faults.resource_metadata = Fault(status=status, times=None)

    return prepare


BAD = {
    "needs no login": Bad(LoginNotNeeded, "without credentials", {"protected": False}),
    "has no metadata": Bad(InvalidResponse, r"Ask its operator to publish it$", {"server_metadata": ()}),
    "has metadata that is down": Bad(TransportError, "[Tt]ry again", prepare=_status(503)),
    "has broken metadata": Bad(InvalidResponse, "resource", {"resource_metadata_overrides": {"resource": 7}}),
    "has broken server metadata": Bad(InvalidResponse, "S256", {"advertise_pkce": False}),
    "is another issuer": Bad(IssuerMismatch, "issuer", {"server_metadata_overrides": {"issuer": "https://x.example"}}),
    "registers nobody": Bad(RegistrationRequired, "client_id", {"registration": ()}),
    "denied consent": Bad(AuthorizationErrorResponse, "access_denied", person=Person.denies),
    "closed browser": Bad(
        LoginTimeout, "callback_timeout", options={"callback_timeout": 0.2}, person=Person.closes_the_window
    ),
    "locked keychain": Bad(
        StorageLocked,
        "[Uu]nlock",
        options={"storage": KeychainStorage(backend=FailingKeyring(lambda: KeyringLocked("locked")))},
    ),
    "missing keychain": Bad(
        StorageUnavailable,
        "MCP_LOGIN_STORAGE",
        options={"storage": KeychainStorage(backend=FailingKeyring(lambda: NoKeyringError("none")))},
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_each_has_an_error_of_its_own_with_a_next_step(serve: Serve, bad: Bad) -> None:
    server = serve(**bad.settings)
    bad.prepare(server)
    person = bad.person()
    options = {"storage": MemoryStorage(), "on_authorization_url": person, "interactive": True, **bad.options}
    with pytest.raises(bad.error, match=bad.says) as caught:
        mcp_login.sync.login(server.url, **options)
    assert type(caught.value) is bad.error
    assert not any(secret in str(caught.value) for secret in server.secrets())
    person.join()


@pytest.mark.parametrize(
    "name",
    # A keychain that can't be read is in test_storage_fallback; a registration of before still counts.
    [name for name, bad in BAD.items() if "storage" not in bad.options and bad.error is not RegistrationRequired],
)
def test_none_loses_what_was_stored(serve: Serve, person: Person, name: str) -> None:
    bad = BAD[name]
    server = serve()
    login = login_of(server, person)
    before = login.record
    server.reconfigure(**bad.settings)
    bad.prepare(server)
    stranger = bad.person()
    with pytest.raises(bad.error):
        mcp_login.sync.login(
            server.url, force=True, **{**login.options, "on_authorization_url": stranger, **bad.options}
        )
    assert login.record == before
    stranger.join()


def test_a_server_that_is_not_there_is_a_transport_error_of_login(closed_port: int, person: Person) -> None:
    url = f"http://127.0.0.1:{closed_port}/mcp"
    with pytest.raises(TransportError, match=r"127\.0\.0\.1") as caught:
        mcp_login.sync.login(url, storage=MemoryStorage(), on_authorization_url=person, interactive=True)
    assert "refused" in str(caught.value)
    assert person.urls == []


def test_a_name_that_does_not_exist_is_a_transport_error_of_login(person: Person) -> None:
    with pytest.raises(TransportError, match=r"nowhere\.invalid"):
        mcp_login.sync.login("https://nowhere.invalid/mcp", storage=MemoryStorage(), interactive=True)


def test_a_server_that_is_not_there_is_the_clients_own_error(closed_port: int, person: Person) -> None:
    auth = OAuth(f"http://127.0.0.1:{closed_port}/mcp", storage=MemoryStorage(), on_authorization_url=person)
    with httpx.Client(auth=auth, trust_env=False, verify=False) as client, pytest.raises(httpx.ConnectError):
        client.post(f"http://127.0.0.1:{closed_port}/mcp", json={})


def test_a_taken_port_is_an_error_of_its_own_and_loses_nothing(serve: Serve, person: Person, taken_port: int) -> None:
    server = serve()
    login = login_of(server, person)
    before = login.record
    with pytest.raises(RedirectPortTaken, match=str(taken_port)):
        mcp_login.sync.login(server.url, force=True, **login.options, callback_port=taken_port)
    assert login.record == before


@pytest.mark.parametrize("port", [-1, 70000])
def test_a_port_that_does_not_exist_is_refused(serve: Serve, person: Person, port: int) -> None:
    with pytest.raises(PolicyError, match="port"):
        Login(serve(), person, callback_port=port).ask()


@pytest.mark.parametrize("host", ["0.0.0.0", "example.com", "192.168.1.1", ""])
def test_a_listener_beyond_loopback_is_refused(serve: Serve, person: Person, host: str) -> None:
    """RFC 8252 section 8.3. (No host at all is the default.)"""
    login = Login(serve(), person, callback_host=host)
    if host:
        with pytest.raises(PolicyError):
            login.ask()
        assert login.windows == 0
    else:
        assert login.ask().status_code == 200


def test_a_denied_consent_says_who_said_no_and_stores_nothing(serve: Serve) -> None:
    server = serve()
    person = Person.denies()
    login = Login(server, person)
    with pytest.raises(AuthorizationErrorResponse) as caught:
        login.ask()
    assert caught.value.error == "access_denied"
    assert caught.value.error_description == "The person said no."
    assert "again" in str(caught.value)
    assert stored(login.storage, server.url) is None
    person.join()


@pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable", "unauthorized_client"])
def test_an_error_of_the_authorization_endpoint_is_told_with_its_name(serve: Serve, person: Person, error: str) -> None:
    server = serve()
    server.faults.authorization_endpoint = Fault(error=error, error_description="\x1b[31mbad\u202e", times=None)
    with pytest.raises(AuthorizationErrorResponse) as caught:
        Login(server, person).ask()
    assert caught.value.error == error
    assert "\x1b" not in str(caught.value)
    assert "\u202e" not in str(caught.value)
    assert "bad" in str(caught.value)


@pytest.mark.parametrize(
    ("scopes", "sent"),
    [([f"s{n}" for n in range(203)], 200), ([f"{n}-{'s' * 3000}" for n in range(5)], 2), (["a b", 'c"d', "é", "e"], 3)],
    ids=["too many", "too long", "no scopes"],
)
def test_scopes_of_the_callers_own_that_are_not_sent_are_told(
    serve: Serve, person: Person, caplog: pytest.LogCaptureFixture, scopes: list[str], sent: int
) -> None:
    """And those that are sent suffice afterwards: else each call would open a window."""
    server = serve(required_scopes=(), server_scopes_supported=tuple(" ".join(scopes).split()))
    login = Login(server, person)
    for _ in range(2):
        caplog.clear()
        credentials = mcp_login.sync.login(server.url, scopes=scopes, **login.options)
        [warning] = [record.getMessage() for record in caplog.records if "scopes that you gave" in record.getMessage()]
        given = len(" ".join(scopes).split())
        assert warning.startswith(f"Of the scopes that you gave, {given - sent} of {given} are not asked for.")
        assert len(credentials.scopes) == sent
    assert login.windows == 1


def test_errors_inside_an_on_authorization_url_are_the_callers_own(serve: Serve) -> None:
    def broken(url: str) -> bool:
        raise RuntimeError("the caller's own")

    server = serve()
    login = Login(server, Person.approves(), on_authorization_url=broken)
    with pytest.raises(RuntimeError, match="the caller's own"):
        login.ask()
    assert login.record is None


def test_a_callback_that_raises_what_no_future_takes_ends_the_login_at_once(serve: Serve) -> None:
    """A StopIteration that is set on a future is a TypeError that nobody sees."""
    server = serve()
    login = Login(server, Person.approves(), on_authorization_url=lambda _: next(iter(())))
    with pytest.raises(RuntimeError, match="on_authorization_url raised StopIteration"):
        login.ask()


def test_the_command_in_a_message_can_be_copied_into_a_shell() -> None:
    """The URL may be a stranger's: what a shell would run is quoted."""
    url = "https://mcp.example.com/mcp;touch${IFS}here;"
    with pytest.raises(LoginRequired) as caught:
        mcp_login.sync.access_token(url, storage=FileStorage())
    command = re.search("`(mcp-login login .*)`", str(caught.value))
    assert command is not None
    assert shlex.split(command[1]) == ["mcp-login", "login", url]
    with pytest.raises(LoginRequired, match=r"'https://mcp\.example\.com/mcp;touch"):
        mcp_login.sync.access_token(url, storage=MemoryStorage())


def test_an_asynchronous_on_authorization_url_is_awaited(serve: Serve, person: Person) -> None:
    async def show(url: str) -> bool:
        return person(url)

    assert Login(serve(), person, on_authorization_url=show).ask().status_code == 200
