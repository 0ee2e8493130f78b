"""Whose credentials go where: a client secret to its own issuer only, a token to its own resource only.

Specification, "Authorization Server Binding": "clients MUST NOT reuse client credentials from a different authorization
server"; "Token Audience Binding and Validation"; DESIGN section 3, "Registration."
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import httpx
import pytest

import mcp_login.sync
from mcp_login import (
    FileStorage,
    IssuerMismatch,
    LoginRequired,
    MemoryStorage,
    OAuth,
    RegistrationRequired,
    StorageUnreadable,
)
from mcp_login.storage.record import binding_key, client_key
from mcp_login.testing import EmbeddedServer, Fault, Person, RegisteredClient
from tests.flows.support import HEADERS, age, message, run

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_login.testing import RecordedRequest
    from tests.flows.conftest import Serve

__all__: list[str] = []

APP = "honest-app"
SECRET = "the-secret-of-the-honest-app"
METHODS = pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])


def client(secret: str | None = SECRET, method: Any = "client_secret_basic") -> RegisteredClient:
    return RegisteredClient(
        client_id=APP,
        client_secret=secret,
        redirect_uris=("http://127.0.0.1/callback",),
        token_endpoint_auth_method=method if secret else "none",
    )


def shown(request: RecordedRequest) -> str:
    """All of a request in which a secret could be, decoded."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    basic = base64.b64decode(credentials).decode() if scheme.lower() == "basic" else credentials
    return f"{request.path} {request.query} {basic} {unquote_plus(request.body.decode())}"


def saw_the_secret(server: EmbeddedServer) -> bool:
    return any(SECRET in shown(request) for request in server.requests)


def options(person: Person, **more: Any) -> dict[str, Any]:
    return {
        "storage": MemoryStorage(),
        "on_authorization_url": person,
        "interactive": True,
        "callback_timeout": 10.0,
        **more,
    }


def without_person(given: dict[str, Any]) -> dict[str, Any]:
    """What a call that asks nobody takes of `given`."""
    return {name: value for name, value in given.items() if name in ("storage", "client_id", "client_secret", "issuer")}


# --- the caller's client secret


@METHODS
def test_the_secret_reaches_the_issuer_it_belongs_to(serve: Serve, person: Person, method: str) -> None:
    """What is refused below is refused for its issuer."""
    server = serve(
        clients=(client(method=method),),
        token_endpoint_auth_methods=(method,),
        any_loopback_port=True,
        auto_approve=True,
    )
    given = options(person, client_id=APP, client_secret=SECRET, issuer=server.issuer)
    mcp_login.sync.login(server.url, **given)
    age(given["storage"], server.url, 7200)
    mcp_login.sync.access_token(server.url, **without_person(given))
    mcp_login.sync.logout(server.url, **without_person(given))
    for endpoint in ("token", "revocation"):
        assert all(SECRET in shown(request) for request in server.requests.matching(endpoint))


def test_a_record_of_another_issuer_is_not_refreshed_with_the_secret(serve: Serve, person: Person) -> None:
    """The person logged in where the server led them; then issuer= says where the client is at home."""
    evil = serve(clients=(client("other"),), any_loopback_port=True, auto_approve=True)
    given = options(person, client_id=APP, client_secret="other")
    mcp_login.sync.login(evil.url, **given)
    age(given["storage"], evil.url, 7200)
    evil.requests.clear()
    given |= {"client_secret": SECRET, "issuer": "https://login.example.com"}
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(evil.url, **without_person(given))
    with pytest.raises(IssuerMismatch, match=r"login\.example\.com"):
        mcp_login.sync.login(evil.url, **given)
    mcp_login.sync.logout(evil.url, **without_person(given))
    assert not saw_the_secret(evil)


def registers_as_the_honest_app(evil: EmbeddedServer) -> None:
    """Dynamic registration answers with a client id that somebody else was given by hand."""
    answer = {
        "client_id": APP,
        "client_secret": "junk",
        "token_endpoint_auth_method": "client_secret_post",
        "redirect_uris": ["http://127.0.0.1/callback"],
    }
    evil.faults.registration_endpoint = Fault(
        status=201, body=json.dumps(answer).encode(), content_type="application/json", times=None
    )


# A login without issuer= asks anew, at an issuer that is named for the first time: a warning is all there can be.
@pytest.mark.parametrize(
    ("what", "named"),
    [("refresh", False), ("logout", False), ("refresh", True), ("logout", True), ("login", True), ("request", True)],
)
def test_a_registration_under_the_honest_clients_id_does_not_get_its_secret(
    serve: Serve, person: Person, what: str, named: bool
) -> None:
    """The same client id is not the same client: whoever answers a registration chooses what it says."""
    evil = serve(clients=(client("junk", "client_secret_post"),), any_loopback_port=True, auto_approve=True)
    registers_as_the_honest_app(evil)
    given = options(person)
    assert mcp_login.sync.login(evil.url, **given).client_id == APP
    age(given["storage"], evil.url, 7200)
    evil.requests.clear()
    given |= {"client_id": APP, "client_secret": SECRET}
    if named:
        given["issuer"] = "https://login.example.com"
    match what:
        case "refresh":
            with pytest.raises(LoginRequired):
                mcp_login.sync.access_token(evil.url, **without_person(given))
        case "logout":
            assert mcp_login.sync.logout(evil.url, **without_person(given)).deleted
        case "login":
            with pytest.raises(IssuerMismatch):
                mcp_login.sync.login(evil.url, **given)
        case _:
            with pytest.raises(IssuerMismatch), httpx.Client(auth=OAuth(evil.url, **given), trust_env=False) as http:
                http.post(evil.url, json=message(), headers=HEADERS)
    assert not saw_the_secret(evil)


@pytest.mark.parametrize("end", ["dead refresh token", "logout", "torn record"])
def test_what_a_client_was_bound_to_outlives_the_login(serve: Serve, person: Person, end: str) -> None:
    """Only a stranger gains from a login whose end lets the next one take the secret elsewhere."""
    server = serve(clients=(client(),), any_loopback_port=True, auto_approve=True)
    evil = serve(clients=(client("other"),), any_loopback_port=True, auto_approve=True)
    given = options(person, client_id=APP, client_secret=SECRET)
    mcp_login.sync.login(server.url, **given)
    if end == "logout":
        mcp_login.sync.logout(server.url, **without_person(given))
    elif end == "torn record":
        run(given["storage"].save(server.url, "torn"))
    else:
        age(given["storage"], server.url, 7200)
        server.revoke_refresh_tokens()
        with pytest.raises(LoginRequired):
            mcp_login.sync.access_token(server.url, **without_person(given))
    server.use_authorization_server(evil)
    with pytest.raises(IssuerMismatch, match="issuer="):
        mcp_login.sync.login(server.url, force=True, **given)
    assert not saw_the_secret(evil)
    # An issuer in so many words is the person's own decision.
    with pytest.raises(IssuerMismatch):
        mcp_login.sync.login(server.url, **given, issuer=server.origin)
    assert len(person.urls) == 1


@pytest.mark.parametrize("mended", ["by an issuer", "by forgetting"])
def test_what_a_client_was_bound_to_is_not_dropped_where_it_is_torn(
    serve: Serve, person: Person, tmp_path: Path, mended: str
) -> None:
    """A torn login is replaced, and so is a torn registration. This one would let the secret go to whoever is named next."""
    server = serve(clients=(client(),), any_loopback_port=True, auto_approve=True)
    evil = serve(clients=(client("other"),), any_loopback_port=True, auto_approve=True)
    given = options(person, client_id=APP, client_secret=SECRET, storage=FileStorage(tmp_path / "logins"))
    mcp_login.sync.login(server.url, **given)
    run(given["storage"].save(binding_key(server.url, APP), "torn"))
    server.use_authorization_server(evil)
    for _ in range(2):
        with pytest.raises(
            StorageUnreadable, match=rf"{evil.issuer}, which the server names now.*issuer= \(--issuer\)"
        ):
            mcp_login.sync.login(server.url, force=True, **given)
    assert not saw_the_secret(evil)
    server.use_authorization_server(server)
    if mended == "by an issuer":
        mcp_login.sync.login(server.url, force=True, **given, issuer=server.issuer)
    else:
        mcp_login.sync.logout(server.url, forget_client=True, **without_person(given))
    # It is known again, and is kept to.
    mcp_login.sync.login(server.url, force=True, **given)
    server.use_authorization_server(evil)
    with pytest.raises(IssuerMismatch):
        mcp_login.sync.login(server.url, force=True, **given)
    assert not saw_the_secret(evil)


def test_a_torn_registration_is_made_anew(serve: Serve, person: Person, caplog: pytest.LogCaptureFixture) -> None:
    server = serve(auto_approve=True)
    given = options(person)
    mcp_login.sync.login(server.url, **given)
    key = client_key(server.issuer, "mcp-login")
    run(given["storage"].save(key, "torn"))
    mcp_login.sync.login(server.url, account="second", **given)
    assert "the stored registration" in caplog.text
    assert len(server.requests.matching("registration")) == 2
    assert "torn" not in run(given["storage"].load(key))


def test_forgetting_the_client_lets_it_be_bound_anew(serve: Serve, person: Person) -> None:
    server = serve(clients=(client(),), any_loopback_port=True, auto_approve=True)
    new = serve(clients=(client(),), any_loopback_port=True, auto_approve=True)
    given = options(person, client_id=APP, client_secret=SECRET)
    mcp_login.sync.login(server.url, **given)
    mcp_login.sync.logout(server.url, forget_client=True, **without_person(given))
    server.use_authorization_server(new)
    assert mcp_login.sync.login(server.url, **given).issuer == new.issuer


def test_the_first_use_of_a_secret_without_an_issuer_is_said_aloud(
    serve: Serve, person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing tells an honest first issuer from another; issuer= does."""
    server = serve(clients=(client(),), any_loopback_port=True, auto_approve=True)
    mcp_login.sync.login(server.url, **options(person, client_id=APP, client_secret=SECRET))
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "issuer=" in warning.getMessage()
    assert SECRET not in warning.getMessage()


def test_a_server_that_takes_neither_id_nor_registration_gets_nothing(serve: Serve, person: Person) -> None:
    server = serve(registration=())
    with pytest.raises(RegistrationRequired):
        mcp_login.sync.login(server.url, **options(person))
    assert person.urls == []


# --- tokens and challenges


def test_a_redirect_that_a_caller_follows_by_hand_takes_no_token_out_of_the_resource(
    serve: Serve, person: Person
) -> None:
    """Not even the one before, which another task has refreshed meanwhile."""
    server = serve(auto_approve=True)
    auth = OAuth(server.url, **options(person))
    with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=10) as http:
        http.post(server.url, json=message(), headers=HEADERS)
        server.faults.mcp_endpoint = Fault(status=307, headers={"Location": "/elsewhere"})
        redirect = http.post(server.url, json=message(), headers=HEADERS).next_request
        assert redirect is not None
        server.expire_access_tokens()
        assert http.post(server.url, json=message(), headers=HEADERS).status_code == 200
        http.send(redirect)
    [elsewhere] = [request for request in server.requests if request.path == "/elsewhere"]
    assert "authorization" not in elsewhere.headers
