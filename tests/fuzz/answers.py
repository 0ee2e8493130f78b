"""Targets: what servers answer. The first byte of the input mostly chooses a status and more; the rest is the answer's body."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import replace

from mcp_login.errors import InvalidResponse
from mcp_login.network.body import BoundedBody
from mcp_login.protocol.authorization import build_authorization_request
from mcp_login.protocol.authorization_server import (
    AuthorizationServerMetadata,
    authorization_server_metadata_urls,
    parse_authorization_server_metadata,
    require_pkce,
)
from mcp_login.protocol.challenge import bearer_challenge, parse_challenges
from mcp_login.protocol.client import ClientInformation
from mcp_login.protocol.error_response import redact, unavailable
from mcp_login.protocol.message import HttpRequest, HttpResponse
from mcp_login.protocol.metadata import MAX_RETRY_AFTER, judge_metadata_response, retry_after
from mcp_login.protocol.registration import parse_registration_response
from mcp_login.protocol.resource import parse_protected_resource_metadata, protected_resource_metadata_urls
from mcp_login.protocol.scope import MAX_CHARACTERS, MAX_SCOPES, format_scope, parse_scope
from mcp_login.protocol.token import (
    MAX_EXPIRES_IN,
    build_refresh_request,
    parse_revocation_response,
    parse_token_response,
)
from mcp_login.protocol.uri import is_within, origin, require_secure
from mcp_login.storage.record import Record, dump_client, parse_client

from .checks import is_clean, judged, lines, require_clean_error, text_of

__all__ = [
    "authorization_server_metadata",
    "body",
    "challenge",
    "protected_resource_metadata",
    "redaction",
    "registration",
    "retry",
    "revocation",
    "token",
]

#: Made up; long and random enough that they don't come about by chance.
REFRESH_TOKEN = "tGzv3JOkF0XG5Qx2TlKWIA"
CLIENT_SECRET = "gX1fBat3bV+/=%s p"
STATUSES = (200, 400, 201, 401, 500, 429, 302, 204)
NOW = 1_800_000_000.0

_VSCHAR = re.compile(r"[!-~]+")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def _answer(data: bytes, url: str) -> HttpResponse:
    return HttpResponse(STATUSES[data[0] % len(STATUSES)] if data else 200, url, (), data[1:])


def _choice(data: bytes) -> int:
    """A number from the first byte that doesn't depend on its status: 0 for the digits from 0 to 7."""
    return data[0] // len(STATUSES) - 6 if data else 0


def _require_scopes(scopes: tuple[str, ...]) -> None:
    assert len(scopes) == len(set(scopes)) <= MAX_SCOPES
    assert all(_SCOPE.fullmatch(scope) for scope in scopes)
    written = format_scope(scopes) or ""
    assert len(written) <= MAX_CHARACTERS
    assert parse_scope(written.split(" ")) == scopes


def _require_sendable(request: HttpRequest) -> None:
    """Nothing in the request forges another header or another parameter."""
    for value in (request.method, request.url, *request.headers, *request.headers.values()):
        assert value.isascii()
        assert value.isprintable()
    assert request.body is not None
    assert request.body.isascii()


def challenge(data: bytes) -> None:
    """WWW-Authenticate (RFC 9110 section 11.6.1): each line of the input is a value."""
    values = text_of(data).split("\n")
    found = parse_challenges(values)
    read = "".join(values).lower()
    assert sum(len(one.scheme) for one in found) <= len(read)
    for one in found:
        assert _TOKEN.fullmatch(one.scheme)
        assert one.scheme == one.scheme.lower()
        assert not (one.token68 and one.params)
        assert all(_TOKEN.fullmatch(name) and name == name.lower() for name in one.params)
        assert sum(map(len, one.params.values())) <= len(read)
        _require_scopes(one.scopes)
    chosen = bearer_challenge(values)
    if chosen is None:
        assert not any(one.scheme in ("bearer", "dpop") for one in found)
        return
    assert chosen in found
    with judged():
        assert protected_resource_metadata_urls("https://mcp.example.com/mcp", chosen.resource_metadata)


def protected_resource_metadata(data: bytes) -> None:
    """RFC 9728 section 3.2."""
    server = ("https://mcp.example.com/mcp", "https://mcp.example.com", "https://mcp.example.com/a%20b/mcp?key=1")[
        _choice(data) % 3
    ]
    response = _answer(data, f"{origin(server)}/.well-known/oauth-protected-resource")
    judgement = judge_metadata_response(response)
    assert (judgement == "document") <= (response.status == 200)
    with judged():
        document = parse_protected_resource_metadata(response, server_url=server)
        assert judgement == "document" or response.status != 200
        assert is_within(server, document.resource)
        assert "#" not in document.resource
        assert all(isinstance(issuer, str) for issuer in document.authorization_servers)
        _require_scopes(parse_scope(document.scopes_supported))
        again = json.dumps(document.model_dump(mode="json"))
        assert parse_protected_resource_metadata(HttpResponse(200, server, (), again.encode()), server_url=server)
        for issuer in document.authorization_servers[:10]:
            with judged():
                assert all(origin(url) == origin(issuer) for url in authorization_server_metadata_urls(issuer))


ISSUER = "https://as.example.com/tenant"


def authorization_server_metadata(data: bytes) -> None:
    """RFC 8414 section 3.2, and the authorization request that follows from the document."""
    issuer = (ISSUER, "https://as.example.com", "http://127.0.0.1:9000")[_choice(data) % 3]
    response = _answer(data, f"{origin(issuer)}/.well-known/oauth-authorization-server")
    with judged():
        document = parse_authorization_server_metadata(response, issuer=issuer)
        assert document.issuer == issuer
        for name in type(document).model_fields:
            url = getattr(document, name)
            if name.endswith("_endpoint") and url is not None:
                require_secure(url, what=name, allow_loopback=issuer.startswith("http:"))
        with judged():
            require_pkce(document, trusted=True)
        _require_request(document)


def _require_request(document: AuthorizationServerMetadata) -> None:
    """The endpoint's own query says nothing that is ours to say."""
    request = build_authorization_request(
        document,
        ClientInformation(document.issuer, "client", "dynamic"),
        redirect_uri="http://127.0.0.1:1/callback",
        state_bytes=bytes(32),
        verifier_bytes=bytes(32),
        resource=None,
        scopes=parse_scope(document.scopes_supported),
    )
    names = [part.partition("=")[0] for part in request.url.partition("?")[2].split("&")]
    ours = ("response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method")
    assert [names.count(name) for name in ours] == [1] * len(ours)
    assert names.count("scope") <= 1
    assert "#" not in request.url
    assert request.url.startswith(request.authorization_endpoint.partition("#")[0].partition("?")[0] + "?")
    assert request.url.isascii()
    assert is_clean(request.url)
    assert " " not in request.url


def registration(data: bytes) -> None:
    """RFC 7591 section 3.2."""
    response = _answer(data, "https://as.example.com/register")
    supported = (None, ("client_secret_basic",), ("none", "client_secret_post"), ())[_choice(data) % 4]
    metadata = AuthorizationServerMetadata(issuer=ISSUER, token_endpoint_auth_methods_supported=supported)
    with judged(REFRESH_TOKEN):
        client = parse_registration_response(
            response,
            issuer=ISSUER,
            metadata=metadata,
            redirect_uri="http://127.0.0.1:1/callback",
            secrets=(REFRESH_TOKEN,),
        )
        assert client.issuer == ISSUER
        assert (client.token_endpoint_auth_method == "none") == (client.client_secret is None)
        assert repr(replace(client, client_secret="another")) == repr(client)
        if len(client.client_id) + len(client.client_secret or "") < 100_000:
            assert parse_client(dump_client(client)) == client
        _require_sendable(build_refresh_request("https://as.example.com/token", client, "token", resource=None))


def token(data: bytes) -> None:
    """RFC 6749 section 5, JSON and forms, with success and error statuses."""
    response = _answer(data, "https://as.example.com/token")
    with judged(REFRESH_TOKEN, CLIENT_SECRET):
        answer = parse_token_response(response, secrets=(REFRESH_TOKEN, CLIENT_SECRET), now=NOW)
        assert response.status < 300
        assert _VSCHAR.fullmatch(answer.access_token)
        assert answer.refresh_token is None or _VSCHAR.fullmatch(answer.refresh_token)
        assert answer.token_type == "Bearer"
        assert answer.expires_in is None or 0 < answer.expires_in <= MAX_EXPIRES_IN
        assert answer.scopes is None or answer.scopes
        _require_scopes(answer.scopes or ())
        assert repr(replace(answer, access_token="another", refresh_token="another")) == repr(answer)
        record = Record(
            server_url="https://mcp.example.com",
            issuer=ISSUER,
            client=ClientInformation(ISSUER, "client", "dynamic"),
            token_endpoint="https://as.example.com/token",
            access_token=answer.access_token,
            resource="https://mcp.example.com",
            refresh_token=answer.refresh_token,
            expires_at=None if answer.expires_in is None else NOW + answer.expires_in,
            granted_scopes=answer.scopes or (),
        )
        assert Record.parse(record.dump()) == record


def revocation(data: bytes) -> None:
    """RFC 7009 section 2.2."""
    response = _answer(data, "https://as.example.com/revoke")
    with judged(REFRESH_TOKEN, CLIENT_SECRET):
        parse_revocation_response(response, secrets=(REFRESH_TOKEN, CLIENT_SECRET))
        assert 200 <= response.status < 300


def retry(data: bytes) -> None:
    """Retry-After and Date (RFC 9110 sections 5.6.7 and 10.2.3): the first two lines of the input."""
    wait, date, error = lines(data, 3)
    response = HttpResponse(503, "https://as.example.com/token", (("retry-after", wait), ("date", date)), b"")
    for now in (None, 0.0, NOW, 253_402_300_799.0):
        seconds = retry_after(response, now)
        assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER
        failure = unavailable(response, what="token endpoint", error=error or None, now=now)
        require_clean_error(failure)
        assert failure.retry_after == seconds


def redaction(data: bytes) -> None:
    """What a server writes about an error: the first line is a secret of ours that it may quote."""
    secret, text = lines(data, 2)
    shown = redact(text, (secret, REFRESH_TOKEN))
    assert is_clean(shown)
    assert len(shown) <= 4 * 4000
    for one in (secret, REFRESH_TOKEN):
        assert len(one) < 8 or one not in shown


ENCODINGS = (None, "gzip", "deflate", "x-gzip", "identity", "gzip, gzip", "br", " GZIP ,")


def body(data: bytes) -> None:
    """Bodies within limits: the first byte chooses the encoding, the second the limit, the third the size of the pieces."""
    choices, wire = data[:3].ljust(3, b"\x00"), data[3:]
    encoding = ENCODINGS[choices[0] % len(ENCODINGS)]
    limit, size = choices[1] * 8, 1 + choices[2] % 64
    whole = _read([wire], encoding, limit)
    assert whole == _read([wire[at : at + size] for at in range(0, len(wire), size)], encoding, limit)
    if whole is None:
        return
    assert len(whole) <= limit
    assert len(wire) <= limit
    plain = encoding in (None, "identity") or not wire
    assert whole == (wire if plain else zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(wire))


def _read(parts: list[bytes], encoding: str | None, limit: int) -> bytes | None:
    try:
        reader = BoundedBody(encoding=encoding, limit=limit, url="https://as.example.com/token?key=1")
        for part in parts:
            reader.feed(part)
        return reader.whole()
    except InvalidResponse as error:
        require_clean_error(error, "key=1")
        return None
