"""Faults that are switched on while the embedded server runs, in process and over a socket."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from mcp_login.testing import EmbeddedServer, Fault
from tests.unit.testing.flow import Login, rpc

pytestmark = pytest.mark.anyio


def at(**settings: Any) -> Login:
    return Login(EmbeddedServer(auto_approve=True, **settings))


async def test_a_fault_is_counted_down() -> None:
    login = at()
    members = await login.tokens()
    login.server.faults.token_endpoint = Fault(status=503, times=2, retry_after=1)
    for _ in range(2):
        response = await login.refresh(members["refresh_token"])
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert login.server.faults.current("token") is None
    assert (await login.refresh(members["refresh_token"])).status_code == 200


async def test_faults_come_one_after_the_other() -> None:
    login = at()
    login.server.faults.token_endpoint = [
        Fault(status=500),
        Fault(status=429, retry_after="Fri, 31 Dec 1999 23:59:59 GMT"),
    ]
    await login.register()
    assert [(await login.refresh("x")).status_code for _ in range(3)] == [500, 429, 400]


async def test_a_fault_without_a_count_stays_until_it_is_taken_away() -> None:
    login = at()
    await login.register()
    login.server.faults.token_endpoint = Fault(status=500, times=None)
    assert [(await login.refresh("x")).status_code for _ in range(3)] == [500] * 3
    login.server.faults.token_endpoint = None
    assert (await login.refresh("x")).status_code == 400
    login.server.faults.mcp_endpoint = Fault(status=500, times=None)
    login.server.faults.clear()
    assert (await login.mcp(rpc("ping"))).status_code == 401


async def test_a_fault_can_be_for_some_requests_only() -> None:
    login = at()
    code = await login.code()
    login.server.faults.token_endpoint = Fault(
        status=500, when=lambda request: request.params.get("grant_type") == "refresh_token"
    )
    members = (await login.exchange(code)).json()
    assert (await login.refresh(members["refresh_token"])).status_code == 500
    assert (await login.refresh(members["refresh_token"])).status_code == 200


async def test_every_endpoint_can_fail() -> None:
    login = at()
    server = login.server
    await login.register()
    metadata = [
        f"{server.origin}/.well-known/{name}" for name in ("oauth-protected-resource/mcp", "oauth-authorization-server")
    ]
    fault = Fault(status=502)
    faults = server.faults
    faults.mcp_endpoint = faults.resource_metadata = faults.server_metadata = fault
    faults.registration_endpoint = faults.authorization_endpoint = faults.revocation_endpoint = fault
    responses = [
        await login.mcp(rpc("ping")),
        *[await login.http.get(url) for url in metadata],
        await login.register(),
        await login.authorize(),
        await login.http.post(server.endpoint("revoke")),
    ]
    assert [response.status_code for response in responses] == [502] * 6


async def test_garbage_and_oauth_errors_can_be_answered() -> None:
    login = at()
    await login.register()
    login.server.faults.token_endpoint = [
        Fault(body=b"\x00{", content_type="application/json"),
        Fault(error="slow_down", error_description="Later.", status=429, headers={"X-Extra": "yes"}),
    ]
    garbage = await login.refresh("x")
    assert (garbage.status_code, garbage.content, garbage.headers["content-type"]) == (
        200,
        b"\x00{",
        "application/json",
    )
    error = await login.refresh("x")
    assert (error.status_code, error.json()["error"], error.headers["x-extra"]) == (429, "slow_down", "yes")


async def test_a_reset_before_acting_leaves_the_refresh_token_alive_and_one_after_it_does_not() -> None:
    login = at()
    members = await login.tokens()
    login.server.faults.token_endpoint = Fault(reset=True)
    with pytest.raises(httpx.ReadError):
        await login.refresh(members["refresh_token"])
    members = (await login.refresh(members["refresh_token"])).json()
    login.server.faults.token_endpoint = Fault(reset=True, after_acting=True)
    with pytest.raises(httpx.ReadError):
        await login.refresh(members["refresh_token"])
    assert (await login.refresh(members["refresh_token"])).status_code == 400
    assert login.server.reuse_detections == 1


async def test_an_answer_that_is_replaced_after_acting_was_acted_on() -> None:
    login = at()
    members = await login.tokens()
    login.server.faults.token_endpoint = Fault(status=504, after_acting=True)
    assert (await login.refresh(members["refresh_token"])).status_code == 504
    await login.refresh(members["refresh_token"])
    assert login.server.reuse_detections == 1


@pytest.mark.parametrize("over_a_socket", [False, True])
async def test_an_answer_can_be_cut_off(over_a_socket: bool) -> None:
    server = EmbeddedServer()
    server.faults.mcp_endpoint = Fault(truncate=True)
    if not over_a_socket:
        with pytest.raises(httpx.ReadError):
            await Login(server).mcp(rpc("ping"))
        return
    async with server.serve(), httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(server.url, json=rpc("ping"))
        assert (await http.post(server.url, json=rpc("ping"))).status_code == 401
    assert [request.status for request in server.requests] == [None, 401]


async def test_a_connection_can_be_reset_over_a_socket(caplog: pytest.LogCaptureFixture) -> None:
    server = EmbeddedServer()
    server.faults.mcp_endpoint = Fault(reset=True)
    async with server.serve(), httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.ReadError):
            await http.post(server.url, json=rpc("ping"))
        assert (await http.post(server.url, json=rpc("ping"))).status_code == 401
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def test_a_request_can_be_held_until_an_event() -> None:
    login = at()
    go_on = threading.Event()
    login.server.faults.mcp_endpoint = Fault(wait_for=go_on)
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await login.mcp(rpc("ping")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        held = await anyio.to_thread.run_sync(lambda: login.server.requests.wait_for("mcp"))
        assert held.status is None
        assert not answers
        go_on.set()
    assert answers[0].status_code == 401
    assert login.server.requests[0].status == 401


async def test_a_held_request_does_not_hold_up_the_end() -> None:
    server = EmbeddedServer()
    server.faults.mcp_endpoint = Fault(wait_for=threading.Event())
    failures: list[Exception] = []

    async def ask() -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                await http.post(server.url, json=rpc("ping"))
            except httpx.TransportError as error:
                failures.append(error)

    async with anyio.create_task_group() as tasks, server.serve():
        tasks.start_soon(ask)
        await anyio.to_thread.run_sync(lambda: server.requests.wait_for("mcp"))
    assert len(failures) == 1


def test_an_endpoint_that_there_is_not_has_no_faults() -> None:
    faults = EmbeddedServer().faults
    with pytest.raises(AttributeError, match=r"no endpoint 'token_endpont', only .*token_endpoint"):
        faults.token_endpont = Fault(status=503)
    with pytest.raises(ValueError, match=r"no endpoint 'tokn', only .*token"):
        faults.set("tokn", [Fault(status=503)])  # type: ignore[arg-type]
