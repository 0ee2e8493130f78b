"""More scopes while running (specification, "Step-Up Authorization Flow"), and scope errors."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

import mcp_login.sync
from mcp_login import AuthorizationErrorResponse, LoginRequired
from mcp_login.testing import EmbeddedServer, Fault, Person
from tests.flows.support import HEADERS, Login, call, in_threads, login_of, message

if TYPE_CHECKING:
    from tests.flows.conftest import Serve

__all__: list[str] = []

SECRET = call("secret")


def scopes(server: EmbeddedServer) -> list[tuple[str, ...]]:
    return [authorization.requested_scopes for authorization in server.authorizations]


def test_insufficient_scope_leads_to_one_login_for_the_union_of_all_scopes(serve: Serve, person: Person) -> None:
    """ "clients SHOULD include these scopes alongside any previously granted scopes"."""
    server = serve(server_scopes_supported=None)
    login = login_of(server, person, scopes="extra")
    response = login.ask(SECRET)
    assert response.status_code == 200
    assert [set(asked) for asked in scopes(server)] == [{"mcp", "extra"}, {"mcp", "extra", "secret:read"}]
    assert login.ask(SECRET).status_code == 200
    assert login.windows == 2


def test_a_refresh_is_no_way_to_more_scopes(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    assert login.ask(SECRET).status_code == 200
    assert server.count("token", grant_type="refresh_token") == 0


def test_a_server_that_grants_fewer_scopes_is_asked_once_and_its_403_stands(serve: Serve, person: Person) -> None:
    """ "Clients SHOULD implement retry limits and SHOULD track scope upgrade attempts to avoid repeated failures"."""
    server = serve(granted_scopes=("mcp",))
    login = login_of(server, person)
    assert [login.ask(SECRET).status_code for _ in range(4)] == [403] * 4
    assert login.windows == 2
    assert login.ask().status_code == 200


def test_another_operations_scopes_may_still_be_asked_for(serve: Serve, person: Person) -> None:
    server = serve(
        granted_scopes=("mcp", "add"),
        server_scopes_supported=None,
        tool_scopes={"secret": ("secret:read",), "add": ("add",)},
    )
    login = login_of(server, person)
    assert login.ask(SECRET).status_code == 403
    assert login.ask(call("add", a=1, b=1)).status_code == 200
    assert login.windows == 3


def test_ten_requests_at_once_that_need_more_cause_one_window(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    assert in_threads(10, lambda _: login.ask(SECRET).status_code) == [200] * 10
    assert login.windows == 2


def test_another_objects_step_up_is_adopted(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    assert login.ask(SECRET, auth=login.oauth()).status_code == 200
    assert login.ask(SECRET).status_code == 200
    assert login.windows == 2


def test_a_step_up_that_is_denied_loses_nothing(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    before = login.record
    no = Person.denies()
    auth = login.oauth(on_authorization_url=no)
    with pytest.raises(AuthorizationErrorResponse) as caught:
        login.ask(SECRET, auth=auth)
    assert caught.value.error == "access_denied"
    assert login.record == before
    assert login.ask(auth=auth).status_code == 200
    no.join()


def test_a_step_up_without_a_person_names_the_scopes(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    with pytest.raises(LoginRequired) as caught:
        login.ask(SECRET, auth=login.oauth(interactive=False))
    assert "secret:read" in caught.value.scopes
    assert login.ask().status_code == 200


@pytest.mark.parametrize(
    "challenge",
    [
        None,
        "Bearer",
        'Bearer error="invalid_token"',
        'Bearer error="insufficient_scope"',  # and the resource lists nothing that wasn't asked for
        'Basic realm="x", error="insufficient_scope", scope="secret:read"',
        'Bearer realm="error=\\"insufficient_scope\\", scope=secret:read"',
    ],
)
def test_a_403_that_asks_for_no_scope_stands(serve: Serve, person: Person, challenge: str | None) -> None:
    """A 403 is no reason for a login unless its Bearer challenge says insufficient_scope, and more can be asked for."""
    server = serve()
    login = login_of(server, person)
    headers = {} if challenge is None else {"WWW-Authenticate": challenge}
    server.faults.mcp_endpoint = Fault(status=403, times=None, headers=headers)
    assert login.ask().status_code == 403
    assert login.windows == 1
    assert server.count("token") == 1


@pytest.mark.parametrize(
    ("coding", "packed", "read"),
    [
        ("gzip", gzip.compress(b"more scopes"), "more scopes"),
        ("deflate", zlib.compress(b"more scopes"), "more scopes"),
        ("gzip", b"more scopes", ""),
        ("gzip, gzip", gzip.compress(gzip.compress(b"more scopes")), ""),
        ("identity", b"more scopes", "more scopes"),
    ],
    ids=["gzip", "deflate", "a lie", "twice", "plain"],
)
@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_of_a_403_that_stands_the_start_is_read_unpacked(
    serve: Serve, person: Person, library: Any, coding: str, packed: bytes, read: str
) -> None:
    """The client's own decoders have no limit: the answer was read by then, and they were not asked."""
    server = serve()
    login = login_of(server, person)
    headers = {"WWW-Authenticate": 'Bearer error="insufficient_scope"', "Content-Encoding": coding}
    server.faults.mcp_endpoint = Fault(status=403, times=None, headers=headers, body=packed)
    with library.Client(auth=login.oauth(), trust_env=False, verify=False, timeout=20) as client:
        response = client.post(server.url, json=message(), headers=HEADERS)
    assert (response.status_code, response.text) == (403, read)


def test_scopes_are_kept_when_a_session_ends_and_the_person_logs_in_again(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    assert login.ask(SECRET).status_code == 200
    server.expire_access_tokens()
    server.revoke_refresh_tokens()
    assert login.ask().status_code == 200
    assert login.ask(SECRET).status_code == 200
    assert set(scopes(server)[-1]) == {"mcp", "secret:read"}
    assert login.windows == 3


def test_scopes_of_one_login_are_asked_for_again_by_a_forced_one(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    assert login.ask(SECRET).status_code == 200
    mcp_login.sync.login(server.url, force=True, **login.options)
    assert set(scopes(server)[-1]) == {"mcp", "secret:read"}


def test_a_scope_that_the_server_does_not_know_is_told_and_not_asked_for_in_a_loop(
    serve: Serve, person: Person
) -> None:
    server = serve()
    login = Login(server, person, scopes="unknown:scope")
    for _ in range(3):
        with pytest.raises(AuthorizationErrorResponse) as caught:
            login.ask()
        assert caught.value.error == "invalid_scope"
        assert "scopes=" in str(caught.value)
    assert login.windows == 1


def test_a_403_of_an_anonymous_request_is_a_reason_for_a_login_with_its_scopes(serve: Serve, person: Person) -> None:
    server = serve()
    server.faults.mcp_endpoint = Fault(
        status=403, headers={"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="secret:read"'}
    )
    login = Login(server, person)
    assert login.ask(SECRET).status_code in (200, 403)
    assert "secret:read" in scopes(server)[0]


# Where the server doesn't say which scopes it wants: they are those that its metadata lists ("Scope Selection Strategy").


def silent(serve: Serve, **settings: Any) -> EmbeddedServer:
    """A server whose challenges name no scopes, as those of the MCP SDK, while its metadata lists them."""
    return serve(**{"challenge_scope": False, "scopes_supported": ("mcp", "secret:read"), **settings})


def test_scopes_that_the_challenge_does_not_name_are_those_that_the_resource_lists(
    serve: Serve, person: Person
) -> None:
    server = silent(serve)
    login = login_of(server, person, scopes="mcp")
    assert login.ask(SECRET).status_code == 200
    assert [set(asked) for asked in scopes(server)] == [{"mcp"}, {"mcp", "secret:read"}]
    assert login.ask(SECRET).status_code == 200
    assert login.windows == 2


def test_what_the_resource_lists_is_asked_for_once_and_then_the_403_stands(serve: Serve, person: Person) -> None:
    server = silent(serve, granted_scopes=("mcp",))
    login = login_of(server, person, scopes="mcp")
    assert [login.ask(SECRET).status_code for _ in range(4)] == [403] * 4
    assert login.windows == 2
    # ... in other objects, and when they come later, too: what was asked for is stored.
    assert login.ask(SECRET, auth=login.oauth()).status_code == 403
    assert login.windows == 2


def test_a_resource_that_lists_nothing_new_is_asked_for_its_list_once(serve: Serve, person: Person) -> None:
    server = silent(serve, scopes_supported=("mcp", "offline_access"))
    login = login_of(server, person, scopes="mcp")
    server.requests.clear()
    assert [login.ask(SECRET).status_code for _ in range(3)] == [403] * 3
    assert server.requests.endpoints == ["mcp", "resource_metadata", "mcp", "mcp"]
    assert login.windows == 1


def test_a_list_that_cannot_be_had_is_asked_for_again_by_the_next_request(serve: Serve, person: Person) -> None:
    server = silent(serve)
    login = login_of(server, person, scopes="mcp")
    server.faults.resource_metadata = Fault(status=503, times=None)
    assert login.ask(SECRET).status_code == 403
    server.faults.clear()
    assert login.ask(SECRET).status_code == 200
    assert login.windows == 2


def test_ten_requests_at_once_that_need_what_nobody_names_cause_one_window(serve: Serve, person: Person) -> None:
    server = silent(serve)
    login = login_of(server, person, scopes="mcp")
    assert in_threads(10, lambda _: login.ask(SECRET).status_code) == [200] * 10
    assert login.windows == 2


def test_another_objects_step_up_is_adopted_where_nobody_names_scopes(serve: Serve, person: Person) -> None:
    server = silent(serve)
    login = login_of(server, person, scopes="mcp")
    assert login.ask(SECRET, auth=login.oauth()).status_code == 200
    assert login.ask(SECRET).status_code == 200
    assert login.windows == 2


def test_without_a_person_the_scopes_that_the_resource_lists_are_named(serve: Serve, person: Person) -> None:
    """As where the challenge names them: whoever catches it knows what to ask a person for."""
    server = silent(serve)
    login = login_of(server, person, scopes="mcp")
    quiet = login.oauth(interactive=False)
    for _ in range(2):
        with pytest.raises(LoginRequired) as caught:
            login.ask(SECRET, auth=quiet)
        assert set(caught.value.scopes) == {"mcp", "secret:read"}
    assert login.ask(auth=quiet).status_code == 200


def test_a_denied_step_up_for_what_the_resource_lists_is_not_asked_for_again(serve: Serve, person: Person) -> None:
    server = silent(serve)
    login = login_of(server, person, scopes="mcp")
    no = Person.denies()
    auth = login.oauth(on_authorization_url=no)
    with pytest.raises(AuthorizationErrorResponse):
        login.ask(SECRET, auth=auth)
    assert [login.ask(SECRET, auth=auth).status_code for _ in range(2)] == [403] * 2
    assert len(no.urls) == 1
    no.join()


def test_a_resource_that_lists_another_scope_each_time_gets_a_few_windows(serve: Serve, person: Person) -> None:
    server = silent(serve)
    login = login_of(server, person, scopes="mcp")
    for number in range(8):
        listed = ("mcp", f"more:{number}")
        server.reconfigure(scopes_supported=listed, server_scopes_supported=None)
        assert login.ask(SECRET).status_code == 403
    assert login.windows <= 1 + 3
