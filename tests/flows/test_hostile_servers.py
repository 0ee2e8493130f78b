"""Servers that mean harm: what they may cost in time, memory, windows and trust.

DESIGN section 3, "Network." and "Discovery."; RFC 9728 section 7.7 (server-side request forgery); specification,
"Step-Up Authorization Flow": "Clients SHOULD implement retry limits".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import trustme

import mcp_login.sync
from mcp_login import (
    AuthError,
    LoginRequired,
    MemoryStorage,
    OAuth,
    PolicyError,
    RegistrationErrorResponse,
    TransportError,
)
from mcp_login.obtaining import BUDGET
from mcp_login.testing import Fault, Person
from tests.flows.strangers import Answer, Asked, Stranger, documents, open_stranger
from tests.flows.support import HEADERS, Login, call, causes, login_of, message
from tests.unit.network.peers import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.flows.conftest import Serve

__all__: list[str] = []

PUBLIC = "93.184.216.34"
PRIVATE = "10.0.0.5"
HOST = "mcp.example.com"

libraries = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
ways = pytest.mark.parametrize("way", ["post", "stream"])


@pytest.fixture
def stranger() -> Iterator[Callable[..., Stranger]]:
    """`stranger(tls=None, host="127.0.0.1")`: a server that does as the test says, until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(open_stranger(**settings))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Names with the addresses that the test gives them."""
    return Names(monkeypatch)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context with a certificate for *.example.com, which is trusted by SSL_CERT_FILE."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("*.example.com").configure_cert(context)
    return context


def options(person: Callable[[str], object], **more: Any) -> dict[str, Any]:
    return {
        "storage": MemoryStorage(),
        "on_authorization_url": person,
        "interactive": True,
        "callback_timeout": 10.0,
        **more,
    }


# --- bodies without an end


def refuse_with(server: Stranger, body: Callable[[], Iterator[bytes]]) -> None:
    """`server` answers requests without a token by a 401 with `body`."""
    rest = documents(server.origin)

    def answer(asked: Asked) -> Answer:
        if asked.path == "/mcp" and "authorization" not in asked.headers:
            return Answer(401, body(), {"WWW-Authenticate": "Bearer"})
        return rest(asked)

    server.answer = answer


def ask(library: Any, way: str, url: str, auth: OAuth) -> int:
    with library.Client(auth=auth, trust_env=False, verify=False, timeout=10) as client:
        status: int
        if way == "post":
            status = client.post(url, json=message(), headers=HEADERS).status_code
        else:
            with client.stream("POST", url, json=message(), headers=HEADERS) as response:
                status = response.status_code
        return status


async def ask_async(library: Any, way: str, url: str, auth: OAuth) -> int:
    async with library.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=10) as client:
        status: int
        if way == "post":
            status = (await client.post(url, json=message(), headers=HEADERS)).status_code
        else:
            async with client.stream("POST", url, json=message(), headers=HEADERS) as response:
                status = response.status_code
        return status


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@libraries
@ways
def test_of_an_endless_refusal_only_the_start_is_read(
    stranger: Callable[..., Stranger], person: Person, library: Any, way: str, asynchronous: bool
) -> None:
    """A 401's body frees the connection when it is read; one that never ends must not fill the memory."""
    server = stranger()
    refuse_with(server, server.endless)
    url = f"{server.origin}/mcp"
    auth = OAuth(url, **options(person))
    status = asyncio.run(ask_async(library, way, url, auth)) if asynchronous else ask(library, way, url, auth)
    assert status == 200
    # What was sent lies in the buffers of two sockets, mostly.
    assert server.sent < 32 << 20
    assert len(person.urls) == 1


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_refusal_that_comes_in_drips_is_waited_for_for_a_moment_only(
    stranger: Callable[..., Stranger], person: Person, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    monkeypatch.setattr("mcp_login.auth.DRAIN_SECONDS", 0.2)
    server = stranger()
    refuse_with(server, server.drip)
    url = f"{server.origin}/mcp"
    auth = OAuth(url, **options(person))
    status = asyncio.run(ask_async(httpx, "post", url, auth)) if asynchronous else ask(httpx, "post", url, auth)
    assert status == 200


def test_documents_that_come_in_drips_have_one_time_limit_together(
    stranger: Callable[..., Stranger], person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_login.obtaining.DISCOVERY_LIMIT", 0.5)
    server = stranger()
    server.answer = lambda asked: Answer(401) if asked.path == "/mcp" else Answer(200, server.drip())
    began = time.monotonic()
    with pytest.raises(TransportError, match=r"took longer than 0\.5 seconds"):
        mcp_login.sync.login(f"{server.origin}/mcp", **options(person))
    assert time.monotonic() - began < 5
    assert person.urls == []


# --- places that a public server must not lead to


class World:
    """A hostile server with a public address and a valid certificate, and a service of the person's own on loopback.

    The service has the port that the hostile server's name has, so that the name can be made to point to it.
    """

    def __init__(self, open_one: Callable[..., Stranger], names: Names, tls: ssl.SSLContext) -> None:
        self.names = names
        self.service = open_one()
        self.service.answer = lambda _: Answer(200, {"internal": "secret"})
        self.evil = open_one(tls=tls)
        self.base = f"https://{HOST}:{self.service.port}"
        self.url = f"{self.base}/mcp"
        names.addresses[HOST] = [PUBLIC]
        names.routes[PUBLIC] = self.evil.port
        self.challenge = "Bearer"
        self.rest = documents(self.base)
        #: After so many requests to the MCP endpoint the name leads to this machine.
        self.turns_after = 1000
        self.evil.answer = self.answer

    def answer(self, asked: Asked) -> Answer:
        if asked.path != "/mcp" or "authorization" in asked.headers:
            return self.rest(asked)
        self.turns_after -= 1
        if self.turns_after <= 0:
            self.names.addresses[HOST] = ["127.0.0.1"]
        return Answer(401, headers={"WWW-Authenticate": self.challenge})

    def ask(self, person: Person) -> httpx.Response:
        """One request of a client whose own connection nobody checks."""
        verify = ssl.create_default_context()
        auth = OAuth(self.url, **options(person))
        with httpx.Client(auth=auth, trust_env=False, verify=verify, timeout=10) as client:
            return client.post(self.url, json=message(), headers=HEADERS)


@pytest.fixture
def world(stranger: Callable[..., Stranger], names: Names, tls: ssl.SSLContext) -> World:
    return World(stranger, names, tls)


@pytest.mark.parametrize("turns_after", [1, 2, 1000], ids=["at once", "after our own request", "never"])
def test_a_name_that_turns_to_this_machine_opens_nothing_on_it(world: World, person: Person, turns_after: int) -> None:
    """DNS rebinding: where a server lives is judged by a connection with a valid certificate, not by what its name says."""
    world.turns_after = turns_after
    world.challenge = f'Bearer resource_metadata="{world.service.origin}/admin?delete=everything"'
    with pytest.raises((PolicyError, TransportError)):
        world.ask(person)
    assert world.service.asked == []
    assert person.urls == []


def test_what_a_world_without_lies_gives_is_a_login(world: World, person: Person) -> None:
    """What is refused here is refused for its one lie."""
    assert world.ask(person).status_code == 200
    assert len(person.urls) == 1


@pytest.mark.parametrize("member", ["registration_endpoint", "token_endpoint"])
def test_an_endpoint_in_a_private_network_gets_no_request_of_a_public_server(
    world: World, stranger: Callable[..., Stranger], tls: ssl.SSLContext, person: Person, member: str
) -> None:
    """Not even where the name is the attacker's own, and looks like any other."""
    intranet = stranger(tls=tls)
    world.names.addresses["intranet.example.com"] = [PRIVATE]
    world.names.routes[PRIVATE] = intranet.port
    world.rest = documents(world.base, server={member: "https://intranet.example.com/users/delete"})
    with pytest.raises(PolicyError, match=f"intranet.example.com is refused.*{PRIVATE}"):
        mcp_login.sync.login(world.url, **options(person))
    assert intranet.asked == []
    assert PRIVATE not in world.names.connected


@pytest.mark.parametrize("ip", ["127.0.0.1", PRIVATE])
def test_a_refresh_goes_no_deeper_than_the_login_did(world: World, person: Person, ip: str) -> None:
    """The record remembers how private the server was when the person logged in."""
    storage = MemoryStorage()
    mcp_login.sync.login(world.url, **options(person, storage=storage))
    assert world.evil.paths().count("/token") == 1
    world.names.addresses[HOST] = [ip]
    with pytest.raises(PolicyError, match=f"public server led to it, but {ip}"):
        mcp_login.sync.access_token(world.url, storage=storage, min_valid_for=5000)
    assert world.service.asked == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://127.0.0.1:8443/admin",
        "https://192.168.1.1/reboot?now=1",
        "https://169.254.169.254/latest",
        "https://localhost/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
    ],
)
def test_a_public_server_sends_no_browser_to_a_private_address(world: World, person: Person, endpoint: str) -> None:
    """A browser is as good as a request of ours: a GET to a router changes its settings."""
    world.rest = documents(world.base, server={"authorization_endpoint": endpoint})
    with pytest.raises(PolicyError, match=r"private|loopback"):
        mcp_login.sync.login(world.url, **options(person))
    assert person.urls == []


# --- windows


def test_a_server_that_always_wants_other_scopes_gets_a_few_windows(serve: Serve, person: Person) -> None:
    """ "Clients SHOULD implement retry limits": however many requests are made, and whatever each 403 names."""
    server = serve(auto_approve=True, scopes_supported=None, server_scopes_supported=None, required_scopes=())
    login = login_of(server, person)
    for number in range(4):
        challenges = [f'Bearer error="insufficient_scope", scope="s{number}.{turn}"' for turn in range(5)]
        server.faults.mcp_endpoint = None
        server.faults.set("mcp", [Fault(status=403, headers={"WWW-Authenticate": value}) for value in challenges])
        assert login.ask(call("secret")).status_code == 403
    assert login.windows <= 4


def test_scopes_without_number_make_no_address_without_end(serve: Serve, person: Person) -> None:
    server = serve(auto_approve=True)
    server.reconfigure(
        challenge_scope=False, scopes_supported=tuple(f"scope-{n}" for n in range(20_000)), required_scopes=()
    )
    server.reconfigure(server_scopes_supported=None)
    login = Login(server, person)
    with contextlib.suppress(AuthError):
        login.ask()
    assert person.urls
    assert max(map(len, person.urls)) < 20_000
    assert max(len(request.body) for request in server.requests.matching("registration")) < 20_000


# --- what a server says back


def test_a_software_statement_that_a_refusal_quotes_is_masked(
    serve: Serve, person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 7591 section 2.3: it is signed, and whoever has it registers as its subject."""
    statement = "eyJhbGciOiJSUzI1NiJ9.c29mdHdhcmU.c2lnbmF0dXJl"
    server = serve()
    server.faults.registration_endpoint = Fault(
        error="invalid_software_statement", error_description=f"unknown statement <{statement}>", times=None
    )
    caplog.set_level("DEBUG")
    with pytest.raises(RegistrationErrorResponse) as caught:
        mcp_login.sync.login(
            server.url, **options(person, additional_client_metadata={"software_statement": statement})
        )
    assert statement in server.requests.matching("registration")[0].body.decode()
    for error in causes(caught.value):
        assert statement not in f"{error} {error!r} {vars(error)}"
    assert statement not in caplog.text


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503, times=None),
        Fault(body=b"{}", content_type="application/json", times=None),
        Fault(body=b'{"resource": 1}', content_type="application/json", times=None),
        Fault(reset=True, times=None),
        Fault(status=302, headers={"Location": "https://elsewhere.invalid/"}, times=None),
    ],
    ids=["down", "empty", "wrong type", "reset", "redirect"],
)
def test_no_message_shows_the_query_of_the_servers_url(
    serve: Serve, person: Person, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """Many a server takes an API key there."""
    server = serve()
    server.faults.resource_metadata = fault
    url = f"{server.url}?api_key=SECRETKEY"
    caplog.set_level("INFO", "mcp_login")
    with pytest.raises(AuthError) as caught:
        mcp_login.sync.login(url, **options(person))
    assert "SECRETKEY" not in "".join(map(str, causes(caught.value))) + caplog.text


def test_a_call_that_may_not_ask_and_a_repr_do_not_show_the_query_either(serve: Serve) -> None:
    url = f"{serve().url}?api_key=SECRETKEY"
    with pytest.raises(AuthError) as caught:
        mcp_login.sync.access_token(url, storage=MemoryStorage())
    assert "SECRETKEY" not in f"{caught.value} {OAuth(url, storage=MemoryStorage())!r}"


def test_the_documents_of_this_file_are_those_of_a_working_server(
    stranger: Callable[..., Stranger], person: Person
) -> None:
    """What is refused above is refused for its one lie."""
    server = stranger()
    server.answer = documents(server.origin)
    credentials = mcp_login.sync.login(f"{server.origin}/mcp", **options(person))
    assert credentials.client_id == "client"
    assert json.loads(server.asked[server.paths().index("/register")].body)["application_type"] == "native"


@pytest.mark.parametrize("ip", ["192.168.1.1", "127.0.0.1"])
def test_a_public_server_sends_no_browser_to_a_name_with_a_private_address(
    world: World, person: Person, ip: str
) -> None:
    """Security best practices, server-side request forgery: the person's browser reaches what we would not."""
    opened: list[str] = []

    def open_it(url: str) -> bool:
        opened.append(url)
        return True

    world.names.addresses["router.example.com"] = [ip]
    world.rest = documents(world.base, server={"authorization_endpoint": "https://router.example.com/reboot?now=1"})
    with pytest.raises(PolicyError):
        mcp_login.sync.login(world.url, **options(open_it))
    assert opened == []


def test_no_message_and_no_log_shows_the_query_of_the_servers_url(
    serve: Serve, person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """Some servers take an API key there."""
    caplog.set_level("DEBUG", "mcp_login")
    other = serve(resource_metadata_overrides={"resource": "https://other.example.com/mcp"})
    with pytest.raises(AuthError) as caught:
        mcp_login.sync.login(f"{other.url}?api_key=SECRETKEY", **options(person))
    assert "SECRETKEY" not in str(caught.value)
    server = serve(auto_approve=True)
    given = options(person)
    mcp_login.sync.login(f"{server.url}?api_key=SECRETKEY", **given)
    server.faults.revocation_endpoint = Fault(status=503, times=None)
    mcp_login.sync.logout(f"{server.url}?api_key=SECRETKEY", storage=given["storage"])
    assert "SECRETKEY" not in caplog.text


def test_tokens_that_work_once_cost_a_few_windows_and_then_an_error(serve: Serve, person: Person) -> None:
    """Field notes, "Browser storms"."""
    server = serve(auto_approve=True, refresh_tokens="never")
    login = login_of(server, person)
    before = login.windows
    refused = 0
    for _ in range(10):
        server.revoke_access_tokens()
        try:
            login.ask()
        except LoginRequired as error:
            assert "within 10 minutes" in str(error)  # noqa: PT017 - the loop goes on
            refused += 1
    assert 0 < login.windows - before <= BUDGET
    assert refused > 0


def test_a_token_that_is_still_good_survives_a_dead_refresh_token(serve: Serve, person: Person) -> None:
    """Field notes: "A valid token without a refresh token thrown away at start"."""
    server = serve(auto_approve=True)
    login = login_of(server, person)
    server.revoke_refresh_tokens()
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url, storage=login.storage, min_valid_for=5000)
    assert mcp_login.sync.access_token(server.url, storage=login.storage)
