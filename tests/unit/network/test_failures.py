"""What a failure on the wire says: the host, the cause and a next step, and no word of the peer."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

from mcp_login.errors import TransportError
from mcp_login.network.failure import Route, transport_error
from mcp_login.network.http import HttpClient
from mcp_login.protocol.message import HttpRequest
from tests.unit.network.peers import Conversation, Names, Peer, connect_proxy, ok, reset, saying

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import trustme

    from tests.unit.network.conftest import Serve

__all__: list[str] = []

pytestmark = pytest.mark.anyio

SECRET = "s3cr3t-code"
HOST = "mcp.example.com"


async def failure(url: str, client: HttpClient | None = None) -> str:
    """The message of the `TransportError` that a request with a secret to `url` ends with."""
    request = HttpRequest("POST", url + "?api_key=" + SECRET, body=SECRET.encode(), secrets=(SECRET,))
    with pytest.raises(TransportError) as error:
        await (client or HttpClient()).send(request)
    message = str(error.value)
    assert SECRET not in f"{message} {error.value!r} {error.value.url} {error.value.__cause__}"
    return message


async def test_a_name_that_does_not_resolve_is_named() -> None:
    message = await failure("https://mcp.invalid/")
    assert message.startswith("The name of mcp.invalid could not be resolved (Name or service not known).")
    assert "Check the URL" in message


async def test_a_host_name_that_cannot_be_one_is_named() -> None:
    assert "could not be resolved" in await failure(f"https://{'x' * 64}.localhost/")


async def test_a_refused_connection_is_named(closed_port: int) -> None:
    message = await failure(f"http://127.0.0.1:{closed_port}/")
    assert message.startswith(f"The connection to 127.0.0.1:{closed_port} was refused. Check that it is running")


async def test_a_reset_connection_is_named(serve: Serve) -> None:
    def conversation(peer: Peer) -> Conversation:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peer.read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            await writer.drain()
            reset(writer)

        return talk

    peer = await serve(conversation)
    assert f"The connection to 127.0.0.1:{peer.port} was reset" in await failure(peer.url())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection before the answer was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "closed the connection before the answer was complete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "closed the connection before"),
        (b"SSH-2.0-" + SECRET.encode() + b"\r\n\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + SECRET.encode() + b"\r\n\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + SECRET.encode() * 20_000, "did not answer in HTTP"),
    ],
    ids=["nothing", "short body", "short chunk", "no HTTP", "broken header", "endless header"],
)
async def test_an_answer_that_is_not_one_is_named_without_its_words(answer: bytes, said: str, serve: Serve) -> None:
    peer = await serve(saying(answer))
    assert f"127.0.0.1:{peer.port} {said}" in await failure(peer.url())


@pytest.mark.parametrize("value", [SECRET + "\r\nX: y", SECRET + "ä"])
async def test_a_header_that_cannot_be_sent_is_not_shown(value: str, serve: Serve) -> None:
    peer = await serve(saying(ok()))
    with pytest.raises(TransportError, match="cannot be sent as HTTP") as error:
        await HttpClient().send(HttpRequest("GET", peer.url(), headers={"Authorization": value}))
    assert SECRET not in str(error.value)
    assert peer.heads == []


async def test_nothing_of_the_http_library_hides_behind_a_failure() -> None:
    """Its exceptions hold the whole request, and trackers of errors write a hidden context down, too."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    client = HttpClient(factory=lambda: httpx.AsyncClient(transport=httpx.MockTransport(fail)))
    with pytest.raises(TransportError) as caught:
        await client.send(HttpRequest("POST", f"https://{HOST}/token", body=SECRET.encode()))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    await client.aclose()


async def test_an_earlier_failure_that_is_being_dealt_with_is_not_taken_for_the_cause() -> None:
    earlier = ConnectionRefusedError()
    error = OSError("something else")
    error.__context__ = earlier
    route = Route("https://mcp.example.com/")
    assert "refused" in str(transport_error(error, route))
    assert "The connection to mcp.example.com failed." in str(transport_error(error, route, ambient=earlier))


# --- whether the server may have acted


async def may_have_acted(url: str, client: HttpClient | None = None) -> bool:
    with pytest.raises(TransportError) as error:
        await (client or HttpClient()).send(HttpRequest("POST", url, body=b"refresh_token=r"))
    return error.value.may_have_acted


def hanging(*, after: bytes | None) -> Callable[[Peer], Conversation]:
    """A server that says `after` once it has the request (None: it doesn't even read), and then nothing."""

    def conversation(peer: Peer) -> Conversation:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if after is not None:
                await peer.read_request(reader)
                writer.write(after)
            await asyncio.sleep(1)

        return talk

    return conversation


async def test_a_request_that_was_never_sent_cannot_have_been_acted_on(closed_port: int) -> None:
    assert not await may_have_acted("https://mcp.invalid/")
    assert not await may_have_acted(f"http://127.0.0.1:{closed_port}/")


async def test_a_failed_handshake_is_before_the_request(serve: Serve, tls: ssl.SSLContext) -> None:
    peer = await serve(saying(ok()), tls)
    assert not await may_have_acted(peer.url(scheme="https", host="localhost"))


async def test_a_time_out_of_the_handshake_is_before_the_request(serve: Serve) -> None:
    peer = await serve(hanging(after=None))
    assert not await may_have_acted(peer.url(scheme="https"), HttpClient(deadline=0.1))


async def test_a_tunnel_that_is_not_dug_is_before_the_request(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CONNECT request to the proxy was sent; the request itself was not."""
    for head in (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", b""):
        proxy = await serve(hanging(after=head))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert not await may_have_acted(f"https://{HOST}/", HttpClient(deadline=0.2))


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"])
async def test_a_time_out_after_sending_leaves_it_open(said: bytes, serve: Serve) -> None:
    peer = await serve(hanging(after=said))
    # It has to be sent within this time, on a busy machine too.
    assert await may_have_acted(peer.url(), HttpClient(deadline=0.5))


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"])
async def test_an_answer_that_breaks_off_leaves_it_open(answer: bytes, serve: Serve) -> None:
    peer = await serve(saying(answer))
    assert await may_have_acted(peer.url())


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
async def test_a_callers_client_tells_too(library: Any, serve: Serve, closed_port: int) -> None:
    def client() -> HttpClient:
        return HttpClient(factory=lambda: library.AsyncClient(trust_env=False))

    assert not await may_have_acted(f"http://127.0.0.1:{closed_port}/", client())
    peer = await serve(saying(b""))
    assert await may_have_acted(peer.url(), client())


@pytest.mark.parametrize(
    ("error", "acted"),
    [(httpx.ConnectError("x"), False), (httpx.ConnectTimeout("x"), False), (httpx.ReadError("x"), True)],
    ids=lambda value: type(value).__name__,
)
async def test_a_transport_that_tells_nothing_is_judged_by_its_error(error: Exception, acted: bool) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    transport = httpx.MockTransport(fail)
    client = HttpClient(factory=lambda: httpx.AsyncClient(transport=transport))
    assert await may_have_acted("https://mcp.example.com/token", client) is acted


# --- TLS


async def test_a_certificate_authority_in_ssl_cert_file_is_trusted(
    serve: Serve, tls: ssl.SSLContext, trusted: Path
) -> None:
    peer = await serve(saying(ok(b"hello")), tls)
    url = peer.url(scheme="https", host="localhost")
    assert (await HttpClient().send(HttpRequest("GET", url))).body == b"hello"


async def test_an_unknown_certificate_authority_is_named_with_what_to_do(serve: Serve, tls: ssl.SSLContext) -> None:
    """Without SSL_CERT_FILE the operating system's store decides, and it doesn't know this authority."""
    peer = await serve(saying(ok()), tls)
    message = await failure(peer.url(scheme="https", host="localhost"))
    assert message.startswith(f"The certificate of localhost:{peer.port} is not trusted (")
    assert "unable to get local issuer certificate" in message
    assert "SSL_CERT_FILE" in message
    assert peer.heads == []


async def test_a_certificate_for_another_name_is_named(
    serve: Serve, tls: ssl.SSLContext, trusted: Path, names: Names
) -> None:
    names.addresses["example.net"] = ["93.184.216.34"]
    peer = await serve(saying(ok()), tls)
    message = await failure(peer.url(scheme="https", host="example.net"))
    assert f"The certificate of example.net:{peer.port} is not trusted" in message
    assert message.endswith("Check the URL: the certificate is for another name.")


async def test_an_expired_certificate_is_named(serve: Serve, ca: trustme.CA, trusted: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    ca.issue_cert("localhost", not_after=past).configure_cert(context)
    peer = await serve(saying(ok()), context)
    message = await failure(peer.url(scheme="https", host="localhost"))
    assert "expired" in message
    assert "Check this machine's clock" in message


async def test_a_server_without_tls_is_named(serve: Serve) -> None:
    def conversation(peer: Peer) -> Conversation:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        return talk

    peer = await serve(conversation)
    assert "does not speak TLS on that port" in await failure(peer.url(scheme="https"))


async def test_a_handshake_that_the_server_breaks_off_is_named(serve: Serve) -> None:
    def conversation(peer: Peer) -> Conversation:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(65536)

        return talk

    peer = await serve(conversation)
    assert "closed the connection during the TLS handshake" in await failure(peer.url(scheme="https"))


@pytest.fixture
def ca_folder(ca_file: Path, tmp_path: Path) -> Path:
    """A folder with the certificate of the authority, under the name that OpenSSL looks for."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command, which tells the name of the file in the folder, is not installed")
    command = [openssl, "x509", "-noout", "-subject_hash", "-in", str(ca_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    folder = tmp_path / "certs"
    folder.mkdir()
    folder.joinpath(f"{done.stdout.strip()}.0").write_bytes(ca_file.read_bytes())
    return folder


async def test_a_certificate_authority_in_ssl_cert_dir_is_trusted(
    serve: Serve, tls: ssl.SSLContext, ca_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(ca_folder))
    peer = await serve(saying(ok(b"hello")), tls)
    url = peer.url(scheme="https", host="localhost")
    assert (await HttpClient().send(HttpRequest("GET", url))).body == b"hello"


async def test_an_ssl_cert_file_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    assert "SSL_CERT_FILE" in await failure("https://localhost:1/")


# --- proxies


@pytest.fixture
async def origin(serve: Serve, tls: ssl.SSLContext, trusted: Path) -> Peer:
    """What is behind the proxy: a TLS server for *.example.com."""
    return await serve(saying(ok(b"hello")), tls)


async def test_a_proxy_of_the_environment_is_used_and_resolves_the_names(
    origin: Peer, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9110 section 9.3.6: CONNECT names the authority, so that neither the path nor the body is seen."""
    proxy = await serve(connect_proxy(lambda: origin.port))
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
    response = await HttpClient().send(HttpRequest("POST", f"https://{HOST}/token", body=SECRET.encode()))
    assert response.body == b"hello"
    assert proxy.heads[0].startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n")
    assert "proxy-authorization: basic dxnlcjpwqhnz\r\n" in proxy.heads[0].lower()
    assert SECRET not in proxy.heads[0]
    assert "proxy-authorization" not in origin.heads[0].lower()


async def test_no_proxy_leads_past_the_proxy(
    origin: Peer, serve: Serve, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await serve(connect_proxy(lambda: origin.port))
    names.addresses[HOST] = ["93.184.216.34"]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "example.com")
    url = origin.url(scheme="https", host=HOST)
    assert (await HttpClient().send(HttpRequest("GET", url))).body == b"hello"
    assert proxy.connections == 0


@pytest.mark.parametrize(
    ("scheme", "advice"), [("http", "Check that it is running"), ("socks5", "socksio"), ("gopher", "can't be used")]
)
async def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    scheme: str, advice: str, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:{SECRET}@127.0.0.1:{closed_port}")
    message = await failure(f"https://{HOST}/")
    assert f"he proxy 127.0.0.1:{closed_port}" in message
    assert advice in message


async def test_a_proxy_whose_address_cannot_be_read_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for proxy in (f"http://user:{SECRET}@[::1", f"e:http://x/:443{SECRET}@"):
        monkeypatch.setenv("ALL_PROXY", proxy)
        with pytest.raises(TransportError, match=r"an address that can't be read\) that the environment") as caught:
            await HttpClient().send(HttpRequest("GET", f"https://{HOST}/"))
        assert SECRET not in f"{caught.value!r} {caught.value.__context__!r}"


@pytest.mark.parametrize("password", ["hunter/2", "hunter?2", "hunter#2", "12/34", "hun@ter/2"])
async def test_a_password_of_a_proxy_that_is_not_encoded_is_no_host(
    password: str, monkeypatch: pytest.MonkeyPatch, names: Names
) -> None:
    """Parsers end the address at `/`, `?` or `#`: nothing in front of the last `@` is shown, looked up or connected to."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://alice:{password}@proxy.corp:3128")
    names.addresses |= {"alice": ["93.184.216.34"], "proxy.corp": ["93.184.216.35"]}
    assert await failure(f"https://{HOST}/") == (
        "The proxy proxy.corp:3128 that the environment names can't be used. Correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY; "
        "in a password, `/` is written %2F, `?` %3F and `#` %23."
    )
    assert names.look_ups == []


async def test_a_proxy_that_refuses_is_named(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = f"HTTP/1.1 407 {SECRET}\r\nContent-Length: 0\r\n\r\n".encode()
    proxy = await serve(connect_proxy(lambda: 0, refusal))
    monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
    message = await failure(f"https://{HOST}/")
    assert message.startswith(f"The proxy 127.0.0.1:{proxy.port} would not connect to {HOST} (status 407).")


async def test_the_deadline_is_for_a_proxy_too(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def conversation(peer: Peer) -> Conversation:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peer.read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await reader.read()
            await asyncio.Event().wait()

        return talk

    proxy = await serve(conversation)
    monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
    assert "in full within 0.1 seconds" in await failure(f"https://{HOST}/", HttpClient(deadline=0.1))


async def test_a_certificate_is_checked_through_a_proxy(
    serve: Serve, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = await serve(saying(ok()), tls)
    proxy = await serve(connect_proxy(lambda: origin.port))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    assert f"The certificate of {HOST} is not trusted" in await failure(f"https://{HOST}/")
