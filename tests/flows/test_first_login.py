"""The first login: challenge, discovery, registration, consent, token, and the request that started it all.

Specification 2026-07-28, "Authorization Flow Steps"; DESIGN section 3, "Discovery.", "Authorization.", "Tokens".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import pytest

import mcp_login.sync
from mcp_login import (
    AuthError,
    AuthorizationErrorResponse,
    InvalidResponse,
    IssuerMismatch,
    LoginRequired,
    MemoryStorage,
    OAuth,
    TokenErrorResponse,
    access_token,
    login,
)
from mcp_login.testing import EmbeddedServer, Fault, Person
from tests.flows.support import HEADERS, Login, call, login_of, message, stored

if TYPE_CHECKING:
    from tests.flows.conftest import Serve

__all__: list[str] = []


def test_a_request_without_credentials_ends_with_the_answer_to_that_request(serve: Serve, person: Person) -> None:
    server = serve()
    login = Login(server, person)
    response = login.ask()
    assert response.status_code == 200
    assert [tool["name"] for tool in response.json()["result"]["tools"]] == ["whoami", "add", "secret"]
    assert server.requests.endpoints == [
        "mcp",
        "resource_metadata",
        "server_metadata",
        "registration",
        "authorization",
        "consent",
        "token",
        "mcp",
    ]
    person.join()
    assert person.pages[0].status == 200
    assert not person.failures


def test_the_authorization_and_token_requests_name_the_resource_and_prove_possession(
    serve: Serve, person: Person
) -> None:
    """ "MCP clients MUST implement and use the resource parameter ... in both authorization requests and token requests",
    "MUST implement PKCE", "MUST use the S256 code challenge method".
    """
    server = serve()
    login_of(server, person)
    asked = server.requests.matching("authorization")[0].params
    redeemed = server.requests.matching("token")[0].params
    assert asked["resource"] == redeemed["resource"] == server.resource
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) >= 22
    assert redeemed["redirect_uri"] == asked["redirect_uri"]
    assert len(redeemed["code_verifier"]) >= 43


def test_the_scopes_asked_for_are_the_callers_and_the_challenges(serve: Serve, person: Person) -> None:
    """A configured scope overwritten by discovery (python-sdk#2317): what the caller asked for is always in the union."""
    server = serve(server_scopes_supported=None, scopes_supported=("a", "b"))
    login_of(server, person, scopes="files:read files:write")
    assert server.authorizations[0].requested_scopes == ("files:read", "files:write", "mcp")


def test_the_documents_scopes_count_only_where_caller_and_challenge_are_silent(serve: Serve, person: Person) -> None:
    """ "If scope is not available, use all scopes defined in scopes_supported"."""
    server = serve(challenge_scope=False, scopes_supported=("mcp", "secret:read"))
    login_of(server, person)
    assert server.authorizations[0].requested_scopes == ("mcp", "secret:read")


def test_no_scope_is_sent_where_nobody_names_one(serve: Serve, person: Person) -> None:
    """ "... omitting the scope parameter if scopes_supported is undefined"."""
    server = serve(challenge_scope=False, scopes_supported=None)
    login_of(server, person)
    assert "scope" not in server.requests.matching("authorization")[0].params


def test_offline_access_is_asked_for_with_consent_where_the_server_lists_it(serve: Serve, person: Person) -> None:
    server = serve(refresh_tokens="offline_access")
    login = login_of(server, person)
    asked = server.requests.matching("authorization")[0].params
    assert asked["scope"].split() == ["mcp", "offline_access"]
    assert asked["prompt"] == "consent"
    assert login.record is not None
    assert login.record.refresh_token is not None


def test_a_prompt_of_the_callers_is_left_alone(serve: Serve, person: Person) -> None:
    server = serve(refresh_tokens="offline_access", auto_approve=True)
    login_of(server, person, authorize_params={"prompt": "login", "audience": "x"})
    asked = server.requests.matching("authorization")[0].params
    assert (asked["prompt"], asked["audience"]) == ("login", "x")


def test_offline_access_is_not_asked_for_where_the_server_does_not_list_it(serve: Serve, person: Person) -> None:
    server = serve()
    login_of(server, person)
    assert "offline_access" not in server.requests.matching("authorization")[0].params["scope"]


def test_one_record_holds_all_that_a_later_process_needs(serve: Serve, person: Person) -> None:
    server = serve()
    before = time.time()
    record = login_of(server, person).record
    assert record is not None
    assert (record.issuer, record.resource) == (server.issuer, server.resource)
    assert record.token_endpoint == server.endpoint("token")
    assert record.revocation_endpoint == server.endpoint("revoke")
    assert record.expires_at is not None
    assert before + 3600 <= record.expires_at <= time.time() + 3600
    assert record.granted_scopes == record.requested_scopes == ("mcp",)
    assert record.client.mechanism == "dynamic"


def test_a_second_oauth_object_sends_the_token_with_its_first_request_and_asks_nothing(
    serve: Serve, person: Person
) -> None:
    server = serve()
    login = login_of(server, person)
    server.requests.clear()
    assert login.ask(auth=login.oauth()).status_code == 200
    assert server.requests.endpoints == ["mcp"]


@pytest.mark.anyio
async def test_login_asks_a_person_and_tells_what_came_of_it(serve: Serve, person: Person) -> None:
    server = serve()
    storage = MemoryStorage()
    credentials = await login(server.url, storage=storage, on_authorization_url=person, interactive=True)
    assert credentials.server_url == server.url
    assert credentials.issuer == server.issuer
    assert credentials.scopes == ("mcp",)
    assert credentials.refreshable
    assert await access_token(server.url, storage=storage) == credentials.access_token
    again = await login(server.url, storage=storage, on_authorization_url=person, interactive=True)
    assert again == credentials
    assert len(person.urls) == 1


def test_login_for_synchronous_callers_does_the_same(serve: Serve, person: Person) -> None:
    server = serve()
    storage = MemoryStorage()
    credentials = mcp_login.sync.login(server.url, storage=storage, on_authorization_url=person, interactive=True)
    assert mcp_login.sync.access_token(server.url, storage=storage) == credentials.access_token


def test_login_does_not_depend_on_a_401(serve: Serve, person: Person) -> None:
    """A server whose `initialize` is anonymous and only tools need a login."""
    server = serve(anonymous_methods=("initialize", "ping", "tools/list"))
    credentials = mcp_login.sync.login(
        server.url, storage=MemoryStorage(), on_authorization_url=person, interactive=True
    )
    assert credentials.scopes == ("mcp",)


def test_a_server_that_lets_initialize_in_is_asked_for_a_login_by_the_first_protected_request(
    serve: Serve, person: Person
) -> None:
    server = serve(anonymous_methods=("initialize",))
    login = Login(server, person)
    assert login.ask(message("initialize", protocolVersion="2025-11-25")).status_code == 200
    assert login.windows == 0
    assert login.ask(call("add", a=1, b=2)).json()["result"]["structuredContent"] == {"result": 3}
    assert login.windows == 1


def test_force_asks_the_person_although_there_are_credentials(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    old = login.record
    credentials = mcp_login.sync.login(server.url, force=True, **login.options)
    assert login.windows == 2
    assert old is not None
    assert credentials.access_token != old.access_token


def test_login_with_scopes_that_were_not_asked_for_before_asks_the_person(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    credentials = mcp_login.sync.login(server.url, scopes=["secret:read"], **login.options)
    assert login.windows == 2
    assert set(credentials.scopes) == {"mcp", "secret:read"}


def test_two_accounts_at_one_server_are_two_logins(serve: Serve, person: Person) -> None:
    server = serve()
    storage = MemoryStorage()
    login_of(server, person, storage=storage, account="work")
    login_of(server, person, storage=storage, account="home")
    work, home = stored(storage, server.url, "work"), stored(storage, server.url, "home")
    assert work is not None
    assert home is not None
    assert work.access_token != home.access_token
    assert len(person.urls) == 2
    # Registrations are the authorization server's, not the account's.
    assert server.count("registration") == 1


def test_a_wrong_state_is_ignored_and_the_right_answer_still_counts(serve: Serve) -> None:
    """ "MCP clients MUST discard any results that do not include the original state or have a mismatch"."""
    person = Person.is_attacked()
    login_of(serve(), person)
    person.join()


@pytest.mark.parametrize("iss", ["on", "off", "unadvertised"])
def test_an_authorization_response_with_a_right_iss_or_without_a_promised_one_is_accepted(
    serve: Serve, person: Person, iss: Literal["on", "off", "unadvertised"]
) -> None:
    login_of(serve(iss=iss), person)


@pytest.mark.parametrize("iss", ["wrong", "withheld"])
def test_an_authorization_response_of_another_issuer_gets_no_token_request(
    serve: Serve, person: Person, iss: Literal["wrong", "withheld"]
) -> None:
    """RFC 9207 section 2.4: "clients MUST ... reject"; the specification's table for a promised `iss` that is missing."""
    server = serve(iss=iss)
    with pytest.raises(IssuerMismatch):
        Login(server, person).ask()
    assert server.count("token") == 0


def test_an_error_of_another_issuer_is_a_mismatch_and_its_words_are_not_shown(serve: Serve) -> None:
    """The iss check comes before `error`; "MUST NOT act on or display" the fields of a response that doesn't match."""
    with pytest.raises(IssuerMismatch) as caught:
        Login(serve(iss="wrong"), Person.denies()).ask()
    assert "access_denied" not in str(caught.value)
    assert "The person said no" not in str(caught.value)


def test_metadata_without_s256_is_refused_before_a_browser_opens(serve: Serve, person: Person) -> None:
    """ "If code_challenge_methods_supported is absent ... MCP clients MUST refuse to proceed"."""
    server = serve(advertise_pkce=False)
    with pytest.raises(InvalidResponse, match="S256"):
        Login(server, person).ask()
    assert person.urls == []
    assert server.count("registration") == 0


def test_the_query_of_the_authorization_endpoint_is_kept(serve: Serve, person: Person) -> None:
    login_of(serve(authorization_endpoint_query="tenant=a%20b&x="), person)


def test_a_login_that_may_not_ask_says_so_and_asks_the_server_nothing_more(serve: Serve, person: Person) -> None:
    server = serve()
    login = Login(server, person, interactive=False, scopes=["files:read"])
    with pytest.raises(LoginRequired) as caught:
        login.ask()
    assert caught.value.resource == server.url
    assert caught.value.scopes == ("files:read", "mcp")
    assert "mcp-login login" in str(caught.value)
    assert login.windows == 0
    assert server.requests.endpoints == ["mcp"]


def test_nobody_is_asked_in_ci(serve: Serve, person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("BROWSER", "/bin/true")
    with pytest.raises(LoginRequired):
        Login(serve(), person, interactive=None).ask()
    assert person.urls == []


@pytest.mark.anyio
async def test_a_server_in_process_is_logged_in_at_without_a_socket_to_it() -> None:
    server = EmbeddedServer()
    person = Person.approves(server=server)
    auth = OAuth(
        server.url,
        storage=MemoryStorage(),
        on_authorization_url=person,
        interactive=True,
        http_client=server.http_client,
    )
    async with server.http_client() as client:
        response = await client.post(server.url, json=message(), headers=HEADERS, auth=auth)
    assert response.status_code == 200
    person.join()
    assert not person.failures


@pytest.mark.anyio
async def test_access_token_never_asks_a_person(serve: Serve, person: Person) -> None:
    server = serve()
    with pytest.raises(LoginRequired):
        await access_token(server.url, storage=MemoryStorage(), on_authorization_url=person, interactive=True)
    assert person.urls == []
    assert len(server.requests) == 0


@pytest.mark.parametrize(("account", "options"), [(None, ""), ("work", " --account work"), ("a b", " --account 'a b'")])
def test_the_command_in_a_message_makes_the_login_that_is_missing(
    serve: Serve, account: str | None, options: str
) -> None:
    server = serve()
    with pytest.raises(LoginRequired) as caught:
        mcp_login.sync.access_token(server.url, account=account, storage=MemoryStorage())
    assert f"for `mcp-login login {server.url}{options}`, or call login() in this process." in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"token_answer": "form"},
        {"token_answer": "form_unless_asked"},
        {"token_status": 201},
        {"token_type": "bearer"},
        {"token_type": "BEARER"},
        {"expires_in": "string"},
        {"null_fields": True, "expires_in": "null", "scope_in_answer": "never"},
        {"scope_separator": ","},
        {"registration_answer": "secret_despite_none"},
        {"registration_answer": "secret_without_method"},
        {"registration_status": 200},
        {"token_endpoint_auth_methods": ("client_secret_basic",)},
        {"token_endpoint_auth_methods": ("client_secret_post",)},
    ],
    ids=str,
)
def test_what_servers_do_at_the_token_and_registration_endpoints_stops_no_login_and_no_refresh(
    serve: Serve, person: Person, settings: dict[str, Any]
) -> None:
    server = serve(**settings)
    login = login_of(server, person)
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    assert login.windows == 1
    assert server.count("token", grant_type="refresh_token") == 1


def test_a_token_of_another_type_is_refused(serve: Serve, person: Person) -> None:
    server = serve(token_type="user")
    login = Login(server, person)
    with pytest.raises(InvalidResponse, match="Bearer"):
        login.ask()
    assert login.record is None


def test_resource_none_leaves_the_parameter_out_of_all_requests(serve: Serve, person: Person) -> None:
    """Microsoft Entra ID refuses `resource` together with scopes: a named option to omit it."""
    server = serve(resource_parameter="refused")
    login = login_of(server, person, resource=None)
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    sent = [*server.requests.matching("authorization"), *server.requests.matching("token")]
    assert len(sent) == 3
    assert all("resource" not in request.params for request in sent)


def test_the_error_of_entra_suggests_to_omit_the_resource(serve: Serve, person: Person) -> None:
    with pytest.raises(AuthorizationErrorResponse, match="resource=None"):
        Login(serve(resource_parameter="refused"), person).ask()


def test_a_code_that_is_refused_is_an_error_of_the_token_endpoint_and_stores_nothing(
    serve: Serve, person: Person
) -> None:
    server = serve()
    server.faults.token_endpoint = Fault(error="invalid_grant", error_description="The code has expired.")
    login = Login(server, person)
    with pytest.raises(TokenErrorResponse) as caught:
        login.ask()
    assert caught.value.error == "invalid_grant"
    assert login.record is None


def test_a_server_that_lists_no_methods_and_takes_only_the_default_one_is_registered_with(
    serve: Serve, person: Person
) -> None:
    """RFC 8414 section 2, `token_endpoint_auth_methods_supported`: "If omitted, the default is "client_secret_basic" "."""
    login_of(serve(token_endpoint_auth_methods=("client_secret_basic",), advertise_auth_methods=False), person)


def test_a_login_that_fails_after_the_person_said_yes_is_not_asked_again_at_once(serve: Serve, person: Person) -> None:
    """FIELD-NOTES, "Browser storms"."""
    server = serve()
    server.faults.token_endpoint = Fault(status=503, times=None)
    login = Login(server, person)
    for _ in range(3):
        with pytest.raises(AuthError):
            login.ask()
    assert login.windows == 1
