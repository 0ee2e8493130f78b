"""More scopes while running (specification, "Step-Up Authorization Flow"), and scope errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import mcp_login.sync
from mcp_login import AuthorizationErrorResponse, LoginRequired
from mcp_login.testing import EmbeddedServer, Fault, Person
from tests.flows.support import Login, call, in_threads, login_of

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
        'Bearer error="insufficient_scope"',
        'Basic realm="x", error="insufficient_scope", scope="secret:read"',
        'Bearer realm="error=\\"insufficient_scope\\", scope=secret:read"',
    ],
)
def test_a_403_that_asks_for_no_scope_stands(serve: Serve, person: Person, challenge: str | None) -> None:
    """A 403 is no reason for a login unless its Bearer challenge says insufficient_scope and which."""
    server = serve()
    login = login_of(server, person)
    headers = {} if challenge is None else {"WWW-Authenticate": challenge}
    server.faults.mcp_endpoint = Fault(status=403, times=None, headers=headers)
    assert login.ask().status_code == 403
    assert login.windows == 1
    assert server.count("token") == 1


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
