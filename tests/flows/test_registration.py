"""Becoming known to the authorization server, staying known, and being forgotten.

Specification 2026-07-28, "Client Registration"; DESIGN section 3, "Registration."
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import mcp_login.sync
from mcp_login import (
    AuthError,
    IssuerMismatch,
    LoginTimeout,
    MemoryStorage,
    PolicyError,
    RedirectPortTaken,
    RegistrationErrorResponse,
    RegistrationRequired,
    TokenErrorResponse,
    TransportError,
)
from mcp_login.testing import EmbeddedServer, Fault, Person, RegisteredClient
from tests.flows.support import Login, age_registration, login_of, stored

if TYPE_CHECKING:
    from tests.flows.conftest import Serve

__all__: list[str] = []

DOCUMENT_URL = "https://app.example.com/client.json"


def registrations(server: EmbeddedServer) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.requests.matching("registration")]


def port_of(login: Login) -> int:
    record = login.record
    assert record is not None
    port = urlsplit(record.client.redirect_uri or "").port
    assert port is not None
    return port


def pre_registered(secret: str | None = None, **fields: Any) -> RegisteredClient:
    return RegisteredClient(
        client_id="agent",
        client_secret=secret,
        redirect_uris=("http://127.0.0.1/callback",),
        accepted_auth_methods=("none",) if secret is None else ("client_secret_basic", "client_secret_post"),
        **fields,
    )


def document(url: str, port: int) -> bytes:
    return json.dumps(
        {"client_id": url, "client_name": "Agent", "redirect_uris": [f"http://127.0.0.1:{port}/callback"]}
    ).encode()


def log_in_again(login: Login) -> None:
    """A new login with what is kept of the registration."""
    mcp_login.sync.logout(login.server.url, storage=login.storage)
    mcp_login.sync.login(login.server.url, **login.options)


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def test_a_registration_says_what_the_specification_wants(serve: Serve, person: Person) -> None:
    """ "MCP clients MUST specify an appropriate application_type"; native for loopback redirect URIs."""
    server = serve()
    login_of(server, person, client_name="My agent", additional_client_metadata={"software_id": "x-1"})
    sent = registrations(server)[0]
    assert sent["application_type"] == "native"
    assert sent["grant_types"] == ["authorization_code", "refresh_token"]
    assert sent["response_types"] == ["code"]
    assert sent["client_name"] == "My agent"
    assert sent["software_id"] == "x-1"
    assert sent["redirect_uris"] == [server.authorizations[0].redirect_uri]


def test_ten_servers_behind_one_authorization_server_register_once(serve: Serve, person: Person) -> None:
    storage = MemoryStorage()
    issuer = serve()
    for _ in range(3):
        server = serve(authorization_server=issuer)
        login_of(server, person, storage=storage)
    assert issuer.count("registration") == 1
    assert len(person.urls) == 3


def test_the_port_that_was_registered_is_kept(serve: Serve, person: Person) -> None:
    """The loopback port changed against the registered redirect URI: servers that compare exactly refuse."""
    server = serve(any_loopback_port=False)
    login = login_of(server, person)
    port = port_of(login)
    log_in_again(login)
    assert port_of(login) == port
    assert server.count("registration") == 1


def test_the_client_registers_anew_where_its_registered_port_is_taken(serve: Serve, person: Person) -> None:
    server = serve(any_loopback_port=False)
    login = login_of(server, person)
    port = port_of(login)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        log_in_again(login)
    assert port_of(login) != port
    assert server.count("registration") == 2


def test_registering_anew_leaves_other_records_alone(serve: Serve, person: Person) -> None:
    server = serve()
    storage = MemoryStorage()
    first = login_of(server, person, storage=storage, account="a")
    before = stored(storage, server.url, "a")
    assert before is not None
    port = urlsplit(before.client.redirect_uri or "").port
    assert port is not None
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        login_of(server, person, storage=storage, account="b")
    assert stored(storage, server.url, "a") == before
    server.expire_access_tokens()
    assert first.ask().status_code == 200  # refreshed with the client that obtained it
    assert len(person.urls) == 2


def test_a_fixed_port_and_host_are_those_of_the_redirect_uri(serve: Serve, person: Person) -> None:
    """Salesforce: `localhost` only. A fixed port for forwarding."""
    server = serve(redirect_hosts=("localhost",))
    port = free_port()
    login_of(server, person, callback_host="localhost", callback_port=port)
    assert server.authorizations[0].redirect_uri == f"http://localhost:{port}/callback"


def test_a_fixed_port_that_is_taken_is_an_error_of_its_own(serve: Serve, person: Person, taken_port: int) -> None:
    server = serve()
    login = Login(server, person, callback_port=taken_port)
    with pytest.raises(RedirectPortTaken) as caught:
        login.ask()
    assert caught.value.port == taken_port
    assert str(taken_port) in str(caught.value)
    assert server.count("registration") == 0
    assert login.windows == 0


@pytest.mark.parametrize("secret", [None, "s3cret with :%+ in it"])
def test_a_configured_client_id_is_used_and_nothing_is_registered(
    serve: Serve, person: Person, secret: str | None
) -> None:
    """A configured `client_id` ignored and dynamic registration tried anyway."""
    server = serve(clients=(pre_registered(secret),), any_loopback_port=True)
    login = login_of(server, person, client_id="agent", client_secret=secret)
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert server.count("registration") == 0
    assert {request.params["client_id"] for request in server.requests.matching("authorization")} == {"agent"}
    assert login.windows == 1


def test_a_stored_login_of_another_client_is_not_used_for_a_configured_one(serve: Serve, person: Person) -> None:
    server = serve(clients=(pre_registered(),), any_loopback_port=True)
    login = login_of(server, person)
    assert login.ask(auth=login.oauth(client_id="agent")).status_code == 200
    assert server.authorizations[-1].client_id == "agent"


def test_a_pre_registered_client_that_the_server_does_not_know_is_an_error_and_is_not_replaced(
    serve: Serve, person: Person
) -> None:
    """Never delete a pre-registered client."""
    server = serve(clients=(pre_registered("right"),), any_loopback_port=True)
    login = login_of(server, person, client_id="agent", client_secret="right")
    server.expire_access_tokens()
    before = login.record
    for _ in range(2):
        with pytest.raises(TokenErrorResponse) as caught:
            login.ask(auth=login.oauth(client_secret="wrong"))
        assert caught.value.error == "invalid_client"
    assert login.record == before
    assert server.count("registration") == 0
    assert login.windows == 1


def test_a_metadata_document_is_preferred_to_registration_where_the_server_supports_it(
    serve: Serve, person: Person
) -> None:
    """The specification's priority order; the redirect URI comes from `callback_port`."""
    port = free_port()
    server = serve(
        registration=("metadata_document", "dynamic"), fetch=lambda url: document(url, port), any_loopback_port=False
    )
    login = login_of(server, person, client_metadata_url=DOCUMENT_URL, callback_port=port)
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert server.count("registration") == 0
    assert server.authorizations[0].client_id == DOCUMENT_URL


def test_registration_is_the_fallback_where_the_server_takes_no_metadata_documents(
    serve: Serve, person: Person
) -> None:
    server = serve(registration=("dynamic",))
    login_of(server, person, client_metadata_url=DOCUMENT_URL)
    assert server.count("registration") == 1


@pytest.mark.parametrize(
    "url",
    ["http://app.example.com/c", "https://app.example.com", "https://app.example.com/", "https://u:p@a.example/c"],
)
def test_a_metadata_url_that_can_be_no_client_id_is_refused(serve: Serve, person: Person, url: str) -> None:
    server = serve(registration=("metadata_document",))
    with pytest.raises(PolicyError):
        Login(server, person, client_metadata_url=url).ask()
    assert person.urls == []


def test_a_server_without_any_way_to_register_says_what_to_do(serve: Serve, person: Person) -> None:
    server = serve(registration=("pre_registered",))
    with pytest.raises(RegistrationRequired, match="client_id") as caught:
        Login(server, person).ask()
    assert caught.value.issuer == server.issuer
    assert person.urls == []


def test_a_refused_redirect_uri_is_explained(serve: Serve, person: Person) -> None:
    """ "clients SHOULD surface a meaningful error to the user or developer"."""
    server = serve(redirect_hosts=("localhost",))
    with pytest.raises(RegistrationErrorResponse) as caught:
        Login(server, person).ask()
    assert caught.value.error == "invalid_redirect_uri"
    assert "callback_host" in str(caught.value)
    assert server.count("registration") == 1


def test_scopes_that_registration_refuses_are_left_out_of_it(serve: Serve, person: Person) -> None:
    """Unknown scopes fail registration with 400 (Keycloak, Supabase)."""
    server = serve(strict_registration_scopes=True, server_scopes_supported=("other",), challenge_scope=False)
    login_of(server, person)
    assert [("scope" in sent) for sent in registrations(server)] == [True, False]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_registration_endpoint_that_is_down_is_no_refusal(serve: Serve, person: Person, status: int) -> None:
    server = serve()
    server.faults.registration_endpoint = Fault(status=status, retry_after=7)
    login = Login(server, person)
    with pytest.raises(TransportError) as caught:
        login.ask()
    assert caught.value.retry_after == 7
    assert login.ask().status_code == 200


def test_a_registration_that_is_reserved_for_others_is_explained(serve: Serve, person: Person) -> None:
    """Figma: registration allow-listed by `client_name`; Okta: needs an admin token."""
    server = serve()
    server.faults.registration_endpoint = Fault(status=403, times=None)
    with pytest.raises(AuthError, match="client_id"):
        Login(server, person).ask()


def test_a_registration_that_was_forgotten_is_made_anew_when_the_refresh_tells(serve: Serve, person: Person) -> None:
    """`invalid_client` at the token endpoint: recover by registering anew (supabase/mcp#355)."""
    server = serve()
    login = login_of(server, person)
    server.forget_clients()
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert server.count("registration") == 2
    assert login.windows == 2


def test_a_registration_that_was_forgotten_is_made_anew_when_the_code_exchange_tells(
    serve: Serve, person: Person
) -> None:
    server = serve()
    login = login_of(server, person)
    server.faults.token_endpoint = Fault(
        error="invalid_client", status=401, when=lambda request: request.params["grant_type"] == "authorization_code"
    )
    log_in_again(login)
    assert server.count("registration") == 2
    assert login.windows == 3


def test_an_unknown_client_at_the_code_exchange_is_an_error_where_it_was_registered_a_moment_ago(
    serve: Serve, person: Person
) -> None:
    server = serve()
    server.faults.token_endpoint = Fault(error="invalid_client", status=401, times=None)
    login = Login(server, person)
    with pytest.raises(TokenErrorResponse):
        login.ask()
    assert server.count("registration") == 1
    assert login.windows == 1


def test_a_registration_that_was_forgotten_shows_only_in_the_browser_and_the_next_login_registers_anew(
    serve: Serve, person: Person
) -> None:
    """... or only an error page in the browser at the authorization endpoint (claude-code#84614)."""
    server = serve()
    login = login_of(server, person)
    before = login.record
    server.forget_clients()
    with pytest.raises(
        LoginTimeout, match="The next login registers this client anew, in case the server has forgotten"
    ):
        mcp_login.sync.login(server.url, **{**login.options, "account": "work", "callback_timeout": 0.4})
    assert login.record == before
    mcp_login.sync.login(server.url, account="work", **login.options)
    assert server.count("registration") == 2


@pytest.mark.anyio
@pytest.mark.parametrize("outlives", [False, True], ids=["new", "earlier"])
async def test_a_person_who_gives_up_gets_another_client_at_the_next_login_if_this_one_was_an_earlier_one(
    serve: Serve, person: Person, *, outlives: bool
) -> None:
    """They may look at the page of a server that has forgotten it, which never comes back."""
    server = serve()
    login = Login(server, person)
    if outlives:
        await asyncio.to_thread(login.ask)
    before = login.record
    shown = asyncio.Event()
    options: dict[str, Any] = {**login.options, "account": "work"}

    async def show(_: object) -> bool:
        loop.call_soon_threadsafe(shown.set)
        return True

    loop = asyncio.get_running_loop()
    given_up = asyncio.create_task(mcp_login.login(server.url, **{**options, "on_authorization_url": show}))
    await shown.wait()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await mcp_login.login(server.url, **options)
    assert server.count("registration") == 1 + outlives
    # Nobody is logged out: what is stored is renewed with the client that obtained it.
    assert login.record == before
    if outlives:
        server.expire_access_tokens()
        assert (await asyncio.to_thread(login.ask)).status_code == 200
    assert login.windows == 1 + outlives


def test_a_forced_login_uses_no_earlier_registration_and_leaves_a_new_one_to_those_after_it(
    serve: Serve, person: Person
) -> None:
    server = serve()
    login = login_of(server, person)
    server.forget_clients()
    mcp_login.sync.login(server.url, force=True, **login.options)
    mcp_login.sync.login(server.url, account="work", **login.options)
    assert server.count("registration") == 2
    assert login.windows == 3


def test_a_forced_login_keeps_the_client_that_the_caller_gave(serve: Serve, person: Person) -> None:
    server = serve(clients=(pre_registered(),), any_loopback_port=True)
    login = login_of(server, person, client_id="agent")
    mcp_login.sync.login(server.url, force=True, **login.options)
    assert server.count("registration") == 0
    assert login.windows == 2


def test_a_login_that_nobody_finished_with_a_new_registration_says_nothing_of_registering(serve: Serve) -> None:
    """Nothing was forgotten: it is kept for the next login."""
    server = serve()
    login = Login(server, Person.closes_the_window(), callback_timeout=0.3)
    with pytest.raises(LoginTimeout) as caught:
        login.ask()
    assert "registers" not in str(caught.value)
    yes = Person.approves()
    mcp_login.sync.login(server.url, **{**login.options, "on_authorization_url": yes, "callback_timeout": 10})
    assert server.count("registration") == 1
    yes.join()


def test_a_client_secret_that_has_expired_leads_to_a_new_registration(serve: Serve, person: Person) -> None:
    server = serve(registration_answer="secret_without_method", client_secret_lifetime=1.0)
    login = login_of(server, person)
    record = login.record
    assert record is not None
    assert record.client.client_secret_expires_at is not None
    server.reconfigure(client_secret_lifetime=None)
    age_registration(login.storage, server.issuer)
    log_in_again(login)
    assert server.count("registration") == 2


def test_a_new_issuer_gets_a_new_registration_of_a_dynamic_client(serve: Serve, person: Person) -> None:
    """ "clients MUST NOT reuse client credentials from a different authorization server and MUST re-register"."""
    server = serve()
    login = login_of(server, person)
    old = login.record
    server.reconfigure(issuer_path="/moved")
    assert login.ask().status_code == 200
    new = login.record
    assert old is not None
    assert new is not None
    assert new.issuer == server.issuer != old.issuer
    assert new.client.client_id != old.client.client_id
    assert server.count("registration") == 2


@pytest.mark.parametrize("alive", [True, False])
def test_an_authorization_server_that_was_replaced_and_still_refreshes_is_left_once_its_tokens_are_refused(
    serve: Serve, person: Person, alive: bool
) -> None:
    """The refresh token goes only to the endpoint stored with it; what that gives doesn't count at the resource."""
    first, second = serve(), serve()
    server = serve(authorization_server=first)
    login = login_of(server, person)
    if not alive:
        first.revoke_refresh_tokens()
    server.use_authorization_server(second)
    assert login.ask().status_code == 200
    assert login.record is not None
    assert login.record.issuer == second.issuer
    assert login.windows == 2


def test_another_authorization_server_never_sees_the_first_ones_tokens_or_client(serve: Serve, person: Person) -> None:
    """ "Clients MUST maintain separate registration state per authorization server"."""
    first, second = serve(), serve()
    server = serve(authorization_server=first)
    login = login_of(server, person)
    old = login.record
    server.use_authorization_server(second)
    assert login.ask().status_code == 200
    assert old is not None
    shown = [value for request in second.requests for value in request.params.values()]
    assert old.client.client_id not in shown
    assert old.refresh_token not in shown
    assert second.count("registration") == 1


def test_the_same_registration_is_found_again_where_the_issuer_moves_back(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    server.reconfigure(issuer_path="/moved")
    assert login.ask().status_code == 200
    server.reconfigure(issuer_path="")
    assert login.ask().status_code == 200
    assert server.count("registration") == 2


def test_a_new_issuer_gets_the_same_metadata_document(serve: Serve, person: Person) -> None:
    """ "Client IDs based on Client ID Metadata Documents are portable across authorization servers"."""
    port = free_port()
    server = serve(registration=("metadata_document",), fetch=lambda url: document(url, port))
    login = login_of(server, person, client_metadata_url=DOCUMENT_URL, callback_port=port)
    server.reconfigure(issuer_path="/moved")
    assert login.ask().status_code == 200
    assert [authorization.client_id for authorization in server.authorizations] == [DOCUMENT_URL] * 2


@pytest.mark.parametrize("named", [True, False])
def test_a_new_issuer_is_an_error_for_a_pre_registered_client(serve: Serve, person: Person, named: bool) -> None:
    """ "clients SHOULD surface an error rather than silently attempting to use mismatched credentials"."""
    server = serve(clients=(pre_registered("s3cret-value"),), any_loopback_port=True)
    issuer = server.issuer
    login = login_of(server, person, client_id="agent", client_secret="s3cret-value", issuer=issuer if named else None)
    before = login.record
    server.reconfigure(issuer_path="/moved")
    server.requests.clear()
    with pytest.raises(IssuerMismatch) as caught:
        login.ask()
    assert (caught.value.expected, caught.value.received) == (issuer, server.issuer)
    assert login.windows == 1
    assert "s3cret-value" not in json.dumps([dict(r.params) for r in server.requests if r.path.startswith("/moved")])
    assert before is not None


def test_a_pre_registered_client_of_another_issuer_is_not_shown_to_this_one(serve: Serve, person: Person) -> None:
    server = serve(clients=(pre_registered("s3cret"),), any_loopback_port=True)
    login = Login(server, person, client_id="agent", client_secret="s3cret", issuer="https://auth.example.com")
    with pytest.raises(IssuerMismatch):
        login.ask()
    assert login.windows == 0
    assert server.count("token") == 0
