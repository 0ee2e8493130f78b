"""`OAuth` in the clients of httpx and httpx2: headers, bodies, redirects, and where a token may go.

DESIGN section 3, "Tokens go only to their resource".
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import trio

from mcp_login.testing import Fault
from tests.flows.support import HEADERS, Login, login_of, message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from mcp_login import OAuth
    from mcp_login.testing import Person
    from tests.flows.conftest import Serve

__all__: list[str] = []

LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


def test_oauth_is_an_auth_of_both_libraries(serve: Serve, person: Person) -> None:
    auth = Login(serve(), person).auth
    assert isinstance(auth, httpx.Auth)
    assert isinstance(auth, httpx2.Auth)
    assert "Bearer" not in repr(auth)


@LIBRARIES
def test_a_synchronous_client_is_logged_in(serve: Serve, person: Person, library: Any) -> None:
    """A class that overrides only `async_auth_flow` sends unauthenticated from a synchronous client, silently."""
    server = serve()
    with library.Client(auth=Login(server, person).auth, trust_env=False, verify=False, timeout=20) as client:
        response = client.post(server.url, json=message(), headers=HEADERS)
    assert response.status_code == 200
    assert response.json()["result"]["tools"]


@LIBRARIES
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_an_asynchronous_client_is_logged_in(serve: Serve, person: Person, library: Any, loop: str) -> None:
    server = serve()
    auth = Login(server, person).auth

    async def main() -> int:
        async with library.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=20) as client:
            status: int = (await client.post(server.url, json=message(), headers=HEADERS)).status_code
            return status

    assert (asyncio.run(main()) if loop == "asyncio" else trio.run(main)) == 200


@LIBRARIES
def test_the_repeated_request_is_the_callers_own(serve: Serve, person: Person, library: Any) -> None:
    """A request built inside the flow has no time-out and none of the client's headers."""
    server = serve()
    headers = {**HEADERS, "x-mine": "yes"}
    with library.Client(
        auth=Login(server, person).auth, trust_env=False, verify=False, timeout=20, headers=headers
    ) as client:
        response = client.post(server.url, json=message())
    first, second = server.requests.matching("mcp")
    assert first.body == second.body
    assert second.headers["x-mine"] == "yes"
    assert response.request.extensions["timeout"]["read"] == 20


@LIBRARIES
def test_the_answers_of_the_token_endpoint_are_in_no_history(serve: Serve, person: Person, library: Any) -> None:
    """Every intermediate response of the flow, token answers included, ends up in `response.history`."""
    server = serve()
    with library.Client(auth=Login(server, person).auth, trust_env=False, verify=False, timeout=20) as client:
        response = client.post(server.url, json=message(), headers=HEADERS)
    assert [(str(one.url), one.status_code) for one in response.history] == [(server.url, 401)]


@LIBRARIES
def test_a_streamed_answer_is_streamed(serve: Serve, person: Person, library: Any) -> None:
    server = serve()
    login = Login(server, person)
    with (
        library.Client(auth=login.auth, trust_env=False, verify=False, timeout=20) as client,
        client.stream("POST", server.url, json=message(), headers=HEADERS) as response,
    ):
        assert response.status_code == 200
        assert not response.is_stream_consumed
        assert b"".join(response.iter_bytes())


@LIBRARIES
def test_a_body_that_is_a_stream_is_not_sent_twice(
    serve: Serve, person: Person, library: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """DESIGN: bodies that can't be replayed are not replayed. The next request is right."""
    server = serve()
    login = Login(server, person)

    def body() -> Iterator[bytes]:
        yield b'{"jsonrpc": "2.0", "id": 1, '
        yield b'"method": "tools/list"}'

    with (
        library.Client(auth=login.auth, trust_env=False, verify=False, timeout=20) as client,
        caplog.at_level(logging.WARNING),
    ):
        assert client.post(server.url, content=body(), headers=HEADERS).status_code == 401
        assert server.count("mcp") == 1
        assert client.post(server.url, json=message(), headers=HEADERS).status_code == 200
        assert client.post(server.url, content=body(), headers=HEADERS).status_code == 200
    assert "can't be sent twice" in caplog.text
    assert login.windows == 1


@pytest.mark.anyio
@LIBRARIES
async def test_an_asynchronous_body_that_is_a_stream_is_not_sent_twice(
    serve: Serve, person: Person, library: Any
) -> None:
    server = serve()
    login = Login(server, person)

    async def body() -> AsyncIterator[bytes]:
        yield b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'

    async with library.AsyncClient(auth=login.auth, trust_env=False, verify=False, timeout=20) as client:
        assert (await client.post(server.url, content=body(), headers=HEADERS)).status_code == 401
        assert (await client.post(server.url, json=message(), headers=HEADERS)).status_code == 200
        assert (await client.post(server.url, content=body(), headers=HEADERS)).status_code == 200


@pytest.mark.parametrize(
    "url", ["{origin}/mcp2", "{origin}/", "{origin}/other", "{origin}/mcp/../other", "{origin}/mcp/%2e%2e/other"]
)
def test_no_token_goes_outside_the_path_of_the_resource(serve: Serve, person: Person, url: str) -> None:
    """DESIGN: same origin, under its path (segments); dot segments don't escape."""
    server = serve()
    login = login_of(server, person)
    server.requests.clear()
    login.ask(url=url.format(origin=server.origin))
    assert [request.headers.get("authorization") for request in server.requests] == [None]


@pytest.mark.parametrize("url", ["{url}", "{url}/", "{url}/messages", "{url}?session=1", "{url}/a/b?c=d"])
def test_the_token_goes_to_everything_below_the_resource(serve: Serve, person: Person, url: str) -> None:
    server = serve()
    login = login_of(server, person)
    server.requests.clear()
    login.ask(url=url.format(url=server.url))
    assert all(request.access_token for request in server.requests)


def test_no_token_goes_to_another_origin(serve: Serve, person: Person) -> None:
    server, other = serve(), serve()
    login = login_of(server, person)
    assert login.ask(url=other.url).status_code == 401
    assert [request.headers.get("authorization") for request in other.requests] == [None]
    # ... whose challenge doesn't count.
    assert len(other.requests) == 1
    assert login.windows == 1


def test_a_token_that_leaves_its_resource_is_taken_off_with_a_warning_once(
    serve: Serve, person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """Redirects re-enter the flow with the header; the warning names the opening for old transports."""
    server = serve()
    login = login_of(server, person)
    server.faults.mcp_endpoint = Fault(status=307, headers={"Location": "/messages"}, times=2)
    server.requests.clear()
    with httpx.Client(auth=login.auth, trust_env=False, verify=False) as client, caplog.at_level(logging.WARNING):
        for _ in range(2):
            response = client.post(server.url, json=message(), headers=HEADERS)
            assert response.next_request is not None
            assert "authorization" in response.next_request.headers
            client.send(response.next_request)
    assert [bool(request.access_token) for request in server.requests] == [True, False, True, False]
    assert caplog.text.count("No token is sent to") == 1
    assert "resource=" in caplog.text


@LIBRARIES
def test_a_redirect_that_the_client_follows_out_of_the_resource_is_reported(
    serve: Serve, person: Person, library: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """SECURITY.md: with follow_redirects=True httpx and httpx2 follow redirects inside the auth flow, past every Auth class.

    Within the origin the token goes along; all that can be done is to say so, and to trust nothing that comes from there.
    """
    server = serve()
    login = login_of(server, person)
    server.faults.mcp_endpoint = Fault(status=307, headers={"Location": "/other-tenant/mcp"})
    server.requests.clear()
    with library.Client(auth=login.auth, trust_env=False, verify=False, follow_redirects=True) as client:
        client.post(server.url, json=message(), headers=HEADERS)
    inside, _ = list(server.requests)
    assert inside.access_token
    assert "outside the resource" in caplog.text


@LIBRARIES
def test_a_redirect_to_another_origin_takes_no_token_along(serve: Serve, person: Person, library: Any) -> None:
    """CVE-2026-64684: credentials must not cross origins on redirects."""
    server, other = serve(), serve(protected=False)
    login = login_of(server, person)
    server.faults.mcp_endpoint = Fault(status=307, headers={"Location": other.url})
    with library.Client(auth=login.auth, trust_env=False, verify=False, follow_redirects=True) as client:
        assert client.post(server.url, json=message(), headers=HEADERS).status_code == 200
    assert [request.headers.get("authorization") for request in other.requests] == [None]


@LIBRARIES
def test_a_challenge_of_the_place_that_a_redirect_led_to_does_not_count(
    serve: Serve, person: Person, library: Any
) -> None:
    """DESIGN: "Challenges count only from responses whose request was inside"."""
    server, other = serve(), serve()
    other.reconfigure(resource_metadata_overrides={"resource": server.url}, resource_parameter="optional")
    login = Login(server, person)
    server.faults.mcp_endpoint = Fault(status=307, headers={"Location": other.url}, times=None)
    with library.Client(auth=login.auth, trust_env=False, verify=False, timeout=20, follow_redirects=True) as client:
        assert client.post(server.url, json=message(), headers=HEADERS).status_code == 401
    assert set(other.requests.endpoints) == {"mcp"}
    assert login.windows == 0


@LIBRARIES
def test_a_refused_request_elsewhere_refreshes_nothing(serve: Serve, person: Person, library: Any) -> None:
    server, other = serve(), serve()
    login = login_of(server, person)
    server.faults.mcp_endpoint = Fault(status=307, headers={"Location": other.url})
    with library.Client(auth=login.auth, trust_env=False, verify=False, timeout=20, follow_redirects=True) as client:
        assert client.post(server.url, json=message(), headers=HEADERS).status_code == 401
    assert server.count("token", grant_type="refresh_token") == 0
    assert login.windows == 1


def test_resource_with_the_url_above_both_is_the_opening_for_old_transports(serve: Serve, person: Person) -> None:
    """... a warning names the opening for old transports whose message endpoint lies beside the resource."""
    server = serve(mcp_path="/api/sse", resource_path="/api")
    login = login_of(server, person)
    login.ask(url=f"{server.origin}/api/messages?session=1")
    assert server.requests.matching("unknown")[-1].access_token


def test_a_token_is_never_in_a_url(serve: Serve, person: Person) -> None:
    """ "Access tokens MUST NOT be included in the URI query string"."""
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    login.ask()
    secrets = server.secrets()
    for request in server.requests:
        if request.endpoint != "authorization":
            assert not secrets & {value for _, value in request.query}


def test_other_answers_of_the_server_are_the_callers(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    for status in (400, 402, 404, 405, 429, 500, 503):
        server.faults.mcp_endpoint = Fault(status=status)
        assert login.ask().status_code == status
    assert server.count("token") == 1


def test_a_network_failure_of_the_request_itself_is_the_callers(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    server.faults.mcp_endpoint = Fault(reset=True)
    with pytest.raises(httpx.NetworkError):
        login.ask()
    assert login.ask().status_code == 200


@pytest.mark.anyio
async def test_the_librarys_own_requests_can_go_through_a_client_of_the_callers(serve: Serve, person: Person) -> None:
    server = serve()
    hosts: list[str] = []

    class Transport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            hosts.append(str(request.url.path))
            return await super().handle_async_request(request)

    login = Login(server, person, http_client=lambda: httpx.AsyncClient(transport=Transport()))
    async with httpx.AsyncClient(auth=login.auth, trust_env=False, verify=False, timeout=20) as client:
        assert (await client.post(server.url, json=message(), headers=HEADERS)).status_code == 200
    assert "/token" in hosts
    assert "/register" in hosts
    assert "/mcp" not in hosts


def test_the_callers_cookies_and_headers_go_to_no_stranger(serve: Serve, person: Person) -> None:
    server = serve(separate_authorization_server=True)
    login = Login(server, person)
    with httpx.Client(
        auth=login.auth,
        trust_env=False,
        verify=False,
        timeout=20,
        headers={"x-api-key": "mine"},
        cookies={"session": "mine"},
    ) as client:
        client.post(server.url, json=message(), headers=HEADERS)
    for request in server.requests:
        if request.endpoint not in ("mcp", "authorization", "consent"):
            assert "x-api-key" not in request.headers
            assert "cookie" not in request.headers


def test_a_client_may_ask_with_several_objects_for_several_servers(serve: Serve, person: Person) -> None:
    first, second = serve(), serve()
    one = login_of(first, person)
    two = Login(second, person, storage=one.storage)
    with httpx.Client(trust_env=False, verify=False, timeout=20) as client:
        for login in (one, two, one):
            auth: OAuth = login.auth
            response = client.post(login.server.url, json=message(), headers=HEADERS, auth=auth)
            assert response.status_code == 200
    tokens = {request.access_token for request in first.requests} & {
        request.access_token for request in second.requests
    }
    assert tokens <= {None}
