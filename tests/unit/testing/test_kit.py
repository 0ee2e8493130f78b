"""What the kit offers around its server: ports, clock, log, names."""

from __future__ import annotations

import dataclasses
import gc
import socket
import subprocess
import sys
import threading
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_login import testing
from mcp_login.testing import Clock, Configuration, EmbeddedServer
from mcp_login.testing.configuration import Settings
from tests.unit.testing.flow import Login, rpc


def test_the_server_is_on_loopback_inside_the_block_only() -> None:
    server = EmbeddedServer(protected=False)
    with server.run() as running:
        assert running is server
        assert server.url.startswith("http://127.0.0.1:")
        assert server.url.endswith("/mcp")
        assert server.issuer == server.origin == server.url.removesuffix("/mcp")
        assert httpx.post(server.url, json=rpc("ping"), trust_env=False).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.post(server.url, json=rpc("ping"), trust_env=False)


def test_a_server_comes_back_to_its_port_with_its_memory() -> None:
    server = EmbeddedServer(auto_approve=True)
    with server.run():
        url, port = server.url, int(server.origin.rpartition(":")[2])
        token = anyio.run(Login(server).tokens)["access_token"]
    with server.run(port=port), httpx.Client(trust_env=False) as http:
        assert server.url == url
        assert http.post(url, json=rpc("ping"), headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EmbeddedServer(separate_authorization_server=True)
        with pytest.raises(OSError, match="in use"), server.run(port=taken.getsockname()[1]):
            pass


def test_an_authorization_server_of_its_own_has_a_port_of_its_own() -> None:
    with EmbeddedServer(separate_authorization_server=True, issuer_path="/tenant").run() as server:
        assert server.issuer != f"{server.origin}/tenant"
        assert server.issuer.endswith("/tenant")
        well_known = f"{server.issuer.removesuffix('/tenant')}/.well-known/oauth-authorization-server/tenant"
        assert httpx.get(well_known, trust_env=False).json()["issuer"] == server.issuer


def test_servers_leave_no_thread_and_no_open_socket_behind() -> None:
    for _ in range(3):
        with EmbeddedServer().run() as server, httpx.Client(trust_env=False) as http:
            http.get(server.url)
    # Warnings are errors here: an unclosed socket or transport would fail this test.
    gc.collect()
    assert not [thread for thread in threading.enumerate() if "embedded" in thread.name]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_server_can_be_served_from_any_loop(backend: str) -> None:
    async def ask() -> int:
        async with EmbeddedServer().serve() as server, httpx.AsyncClient(trust_env=False) as http:
            return (await http.post(server.url, json=rpc("ping"))).status_code

    assert anyio.run(ask, backend=backend) == 401


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_mcp_sdk_speaks_with_it(mode: Any) -> None:
    server = EmbeddedServer(protected=False)
    async with (
        httpx2.AsyncClient(transport=httpx2.ASGITransport(server.app)) as http,
        Client(streamable_http_client(server.url, http_client=http), mode=mode) as client,
    ):
        assert [tool.name for tool in (await client.list_tools()).tools] == ["whoami", "add", "secret"]
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
        with pytest.raises(Exception, match="Unknown tool"):
            await client.call_tool("other", {})
    assert server.count("mcp", method="server/discover") == (1 if mode == "auto" else 0)
    assert server.count("mcp", method="initialize") == (0 if mode == "auto" else 1)


def test_keywords_change_a_configuration() -> None:
    strict = Configuration(rotation=False, access_token_lifetime=5)
    server = EmbeddedServer(strict, access_token_lifetime=7)
    assert (server.configuration.rotation, server.configuration.access_token_lifetime) == (False, 7)
    server.reconfigure(rotation=True)
    assert server.configuration.rotation is True
    assert strict.rotation is False


def test_an_unknown_keyword_is_an_error() -> None:
    with pytest.raises(TypeError, match="no_such_thing"):
        EmbeddedServer(no_such_thing=True)  # type: ignore[call-arg]


def test_the_servers_keywords_are_the_fields_of_its_configuration() -> None:
    fields = {field.name: field.type for field in dataclasses.fields(Configuration)}
    named = {name: kind.__forward_arg__ for name, kind in Settings.__annotations__.items()}
    assert named == fields


def test_a_configuration_is_not_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Configuration().rotation = False  # type: ignore[misc]


def test_a_clock_moves_only_when_told_to() -> None:
    clock = Clock(100)
    assert clock() == clock() == 100
    assert clock.advance(2.5) == clock() == 102.5
    with pytest.raises(ValueError, match="forwards"):
        clock.advance(-1)
    assert repr(clock) == "Clock(102.5)"


@pytest.mark.anyio
async def test_requests_are_counted_by_endpoint_and_parameters() -> None:
    login = Login(EmbeddedServer(auto_approve=True, clock=Clock(5)))
    members = await login.tokens()
    await login.refresh(members["refresh_token"])
    server = login.server
    assert server.requests.endpoints == ["registration", "authorization", "token", "token"]
    assert len(server.requests) == server.count() == 4
    assert server.count("token") == 2
    assert server.count("token", grant_type="refresh_token") == 1
    assert server.count("token", grant_type="refresh_token", client_id="another") == 0
    first = server.requests[0]
    assert (first.method, first.path, first.status, first.at) == ("POST", "/register", 201, 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.status = 500  # type: ignore[misc]
    server.requests.clear()
    assert list(server.requests) == []


@pytest.mark.anyio
async def test_the_log_shows_no_secret_when_printed() -> None:
    login = Login(EmbeddedServer())
    members = await login.tokens()
    members = (await login.refresh(members["refresh_token"])).json()
    await login.mcp(rpc("ping"), members["access_token"])
    assert login.server.requests[-1].access_token == members["access_token"]
    printed = repr(login.server.requests)
    secrets = login.server.secrets()
    assert {members["access_token"], members["refresh_token"], "a state"} < secrets
    assert not [secret for secret in secrets if secret in printed]


def test_waiting_for_a_request_that_does_not_come_ends() -> None:
    with pytest.raises(TimeoutError, match="asked 0 times"):
        EmbeddedServer().requests.wait_for("token", timeout=0.01)


def test_every_public_name_can_be_imported_and_is_sorted() -> None:
    assert testing.__all__ == sorted(testing.__all__)
    assert set(testing.__all__) <= set(dir(testing))
    for name in testing.__all__:
        assert getattr(testing, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = testing.no_such_thing


def test_importing_the_kit_loads_no_server() -> None:
    program = (
        "import sys, mcp_login.testing as kit; kit.Clock(); kit.Person;"
        "print([name for name in ('starlette', 'uvicorn', 'mcp', 'httpx') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_server_in_process_loads_no_uvicorn_and_no_mcp_sdk() -> None:
    program = (
        "import sys; from mcp_login.testing import EmbeddedServer; EmbeddedServer();"
        "print([name for name in ('uvicorn', 'mcp') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_server_can_be_on_ipv6() -> None:
    with EmbeddedServer().run(host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert httpx.post(server.url, json=rpc("ping"), trust_env=False).status_code == 401


@pytest.mark.anyio
async def test_the_application_starts_and_ends_under_any_asgi_server() -> None:
    sent: list[str] = []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await EmbeddedServer().app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_server_is_shown_by_its_address_only() -> None:
    assert repr(EmbeddedServer()) == "EmbeddedServer('http://127.0.0.1:8000/mcp')"


def test_requests_to_an_endpoint_that_there_is_not_are_neither_counted_nor_waited_for() -> None:
    server = EmbeddedServer()
    for ask in (server.count, server.requests.count, server.requests.matching, server.requests.wait_for):
        with pytest.raises(ValueError, match=r"there is no endpoint 'tokn', only mcp, .*token"):
            ask("tokn")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"registration": False}, "registration is a tuple, not False"),
        (
            {"registration": ("dinamic",)},
            "registration is a tuple of some of 'pre_registered', .*; not \\('dinamic',\\)",
        ),
        ({"required_scopes": "mcp"}, "required_scopes is a tuple, not 'mcp'"),
        ({"required_scopes": None}, "required_scopes is a tuple, not None"),
        ({"granted_scopes": "mcp"}, "granted_scopes is a tuple, not 'mcp'"),
        ({"resource_metadata": False}, "resource_metadata is one of 'path', 'root', 'custom', 'absent'; not False"),
        ({"iss": "of"}, "iss is one of .*; not 'of'"),
    ],
)
def test_settings_that_would_do_something_else_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbeddedServer(**settings)
    server = EmbeddedServer()
    with pytest.raises(ValueError, match=message):
        server.reconfigure(**settings)
