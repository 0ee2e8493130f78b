"""The defences of `network/` and `discovery`, and how each is switched off. A new defence comes with its switch."""

from __future__ import annotations

import ssl
from typing import Any

from mcp_login.network.http import HttpClient
from tests.hostile.attack import Switch, nothing

__all__ = [
    "ADDRESSES_OF_A_NAME",
    "ADDRESS_OF_CONNECTION",
    "ADDRESS_SPACES",
    "CALLERS_REDIRECTS",
    "CERTIFICATES",
    "LEAST_PRIVATE_SO_FAR",
    "LENGTH_OF_CREDENTIALS",
    "LENGTH_OF_URLS",
    "NO_UNPACKING",
    "NUMBER_OF_ISSUERS",
    "NUMBER_OF_REDIRECTS",
    "NUMBER_OF_VALUES",
    "ONE_LOOK_UP",
    "REDIRECTS_OF_SECRETS",
    "REDIRECTS_WITHIN_THE_ORIGIN",
    "SIZE_OF_AN_EXCHANGE",
    "SIZE_OF_A_BODY",
    "SIZE_OF_A_HEAD",
    "SIZE_OF_A_REFUSAL",
    "TIME_OF_ALL_DOCUMENTS",
    "TIME_OF_AN_EXCHANGE",
    "TIME_OF_A_REFUSAL",
]


#: Judging URLs and addresses by who can reach them.
ADDRESS_SPACES = Switch(
    "address spaces",
    (
        ("mcp_login.network.policy.NetworkPolicy.check_url", nothing),
        ("mcp_login.network.policy.NetworkPolicy.check_address", nothing),
        ("mcp_login.protocol.authorization_server.require_secure", nothing),
    ),
)

#: Judging the very address that is connected to; what a URL shows by itself is still judged.
ADDRESS_OF_CONNECTION = Switch(
    "the address of the connection", (("mcp_login.network.policy.NetworkPolicy.check_address", nothing),)
)


async def _connects_by_name(backend: Any, host: str, port: int, *settings: Any, **more: Any) -> Any:
    from mcp_login.network.transport import resolve

    backend._choose(await resolve(host, port))
    return await backend._sockets.connect_tcp(host, port, *settings, **more)


#: Connecting to the address that was judged, not to what the name says the next moment.
ONE_LOOK_UP = Switch("one look-up", (("mcp_login.network.transport._Backend.connect_tcp", _connects_by_name),))

#: A name that answered from a public address isn't followed inside.
LEAST_PRIVATE_SO_FAR = Switch(
    "the least private address so far", (("mcp_login.network.http.HttpClient._floor_of", lambda _, __, floor: floor),)
)


_send = HttpClient.send


async def _follows(client: HttpClient, request: Any, **keywords: Any) -> Any:
    return await _send(client, request, **{**keywords, "follow_redirects": True})


def _anywhere(response: Any, url: Any) -> Any:
    location = response.header("location")
    return None if location is None else url.join(location)


#: A request with a secret in it goes to one URL only, whoever asks for what.
REDIRECTS_OF_SECRETS = Switch(
    "no redirect for secrets",
    (
        ("mcp_login.network.http.HttpClient.send", _follows),
        ("mcp_login.network.http._may_be_repeated", lambda _: True),
        ("mcp_login.network.http._redirect_target", _anywhere),
    ),
)


async def _as_it_likes(client: Any, request: Any, target: Any, extensions: Any) -> Any:
    client._client = client._client or client._factory()
    built = client._client.build_request(
        request.method, str(target), headers=request.headers, content=request.body, extensions=extensions
    )
    return await client._client.send(built, stream=True)


#: The caller's own client follows no redirects for us.
CALLERS_REDIRECTS = Switch(
    "no redirect by the caller's client",
    (("mcp_login.network.http.HttpClient._send_by_callers_client", _as_it_likes),),
)

#: Redirects of metadata stay in their origin.
REDIRECTS_WITHIN_THE_ORIGIN = Switch(
    "redirects within the origin", (("mcp_login.network.http._redirect_target", _anywhere),)
)


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    return context


#: Certificates are checked, and TLS is no older than 1.2.
CERTIFICATES = Switch("certificates and versions of TLS", (("mcp_login.network.http.default_ssl_context", _trusting),))

#: Limits of numbers and lengths.
NUMBER_OF_ISSUERS = Switch("number of issuers", (("mcp_login.discovery.MAX_ISSUERS", 1000),))
NUMBER_OF_REDIRECTS = Switch("number of redirects", (("mcp_login.network.http.MAX_REDIRECTS", 8),))
ADDRESSES_OF_A_NAME = Switch("addresses of a name", (("mcp_login.network.transport.MAX_ADDRESSES", 1000),))
LENGTH_OF_URLS = Switch(
    "length of URLs",
    (("mcp_login.protocol.uri.MAX_SENT_URL", 1 << 30),),
)
LENGTH_OF_CREDENTIALS = Switch(
    "length of credentials",
    (
        ("mcp_login.protocol.token.MAX_CREDENTIAL", 1 << 30),
        ("mcp_login.protocol.registration.MAX_CREDENTIAL", 1 << 30),
    ),
)

#: Limits of time.
TIME_OF_AN_EXCHANGE = Switch("time of an exchange", (("mcp_login.network.http.DEADLINE", 3600.0),))
TIME_OF_ALL_DOCUMENTS = Switch("time of all documents", (("mcp_login.obtaining.DISCOVERY_LIMIT", 3600.0),))

#: Limits of bytes: of a body, of all that comes over a connection, of a line or block of lines.
SIZE_OF_A_BODY = Switch("size of a body", (("mcp_login.network.http.MAX_BYTES", 1 << 40),))
SIZE_OF_AN_EXCHANGE = Switch("size of an exchange", (("mcp_login.network.http.MAX_OVERHEAD", 1 << 40),))
SIZE_OF_A_HEAD = Switch(
    "size of a head", (("httpcore._async.http11.AsyncHTTP11Connection.MAX_INCOMPLETE_EVENT_SIZE", 1 << 40),)
)
NUMBER_OF_VALUES = Switch("values of a document", (("mcp_login.protocol.metadata.MAX_VALUES", 1 << 40),))

#: Of a refusal that nobody will read, only the start is taken from the wire, as it is.
SIZE_OF_A_REFUSAL = Switch("size of a refusal", (("mcp_login.auth.DRAIN_BYTES", 1 << 40),))
TIME_OF_A_REFUSAL = Switch("time of a refusal", (("mcp_login.auth.DRAIN_SECONDS", 3600.0),))
NO_UNPACKING = Switch("a refusal is not unpacked", (("mcp_login.auth._undecoded", lambda _: ""),))
