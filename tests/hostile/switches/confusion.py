"""The defences against one thing being taken for another, and how each is switched off."""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from urllib.parse import parse_qsl

from mcp_login.discovery import discover
from mcp_login.network.http import HttpClient
from mcp_login.protocol.authorization_server import parse_authorization_server_metadata
from tests.hostile.attack import Switch, nothing

__all__ = [
    "ANCESTORS",
    "AUDIENCE",
    "ENDPOINT_QUERY",
    "ISSUER_OF_METADATA",
    "ISSUER_OF_RESPONSE",
    "ONE_OF_EACH",
    "OWN_SEEDS",
    "RESOURCE_OF_METADATA",
    "SCOPE_REPORT",
    "STATE",
    "STORED_ENDPOINT",
    "TOKEN_TYPE",
]


def _whoever_it_says(response: Any, *, issuer: str, **keywords: Any) -> Any:
    said = json.loads(response.body).get("issuer", issuer)
    return parse_authorization_server_metadata(response, issuer=said, **keywords)


#: A document's issuer is the one that it was asked for (RFC 8414 section 3.3).
ISSUER_OF_METADATA = Switch(
    "the issuer of metadata", (("mcp_login.discovery.parse_authorization_server_metadata", _whoever_it_says),)
)

#: `iss` is the recorded issuer (RFC 9207 section 2.4).
ISSUER_OF_RESPONSE = Switch(
    "the issuer of responses", (("mcp_login.protocol.authorization._validate_issuer", nothing),)
)

#: A response carries the state of its own login.
STATE = Switch("state", (("mcp_login.protocol.authorization._has_state", lambda *_: True),))

#: A parameter that is given twice is refused.
ONE_OF_EACH = Switch("no parameter twice", (("mcp_login.protocol.authorization._require_single", nothing),))

#: An endpoint's own query says nothing that is ours to say.
ENDPOINT_QUERY = Switch("endpoints' queries", (("mcp_login.protocol.authorization._may_stay", lambda *_: True),))

#: A document is about the server that it was asked for.
RESOURCE_OF_METADATA = Switch("the resource of metadata", (("mcp_login.protocol.resource._covers", lambda *_: True),))

#: A resource above the server's URL is believed only at a well-known URI.
ANCESTORS = Switch("resources above the server", (("mcp_login.protocol.resource._is_at_home", lambda *_: True),))

#: Tokens are asked for one resource (RFC 8707).
AUDIENCE = Switch("resource indicators", (("mcp_login.obtaining.Obtaining._resource", lambda *_: None),))

#: What a registration gave is kept for each issuer, and looked at again.
OWN_SEEDS = Switch(
    "registrations by issuer", (("mcp_login.grants.client_registration.client_key", lambda *_: "client"),)
)

_send = HttpClient.send


async def _where_the_documents_say(client: HttpClient, request: Any, **keywords: Any) -> Any:
    """As clients do it that keep nothing but tokens: the endpoint is looked up again."""
    form = dict(parse_qsl((request.body or b"").decode()))
    if form.get("grant_type") == "refresh_token":
        found = await discover(client, form["resource"])
        request = dataclasses.replace(request, url=found.server.token_endpoint)
    return await _send(client, request, **keywords)


#: A refresh token goes to the endpoint that was stored with it.
STORED_ENDPOINT = Switch(
    "endpoints that are stored", (("mcp_login.network.http.HttpClient.send", _where_the_documents_say),)
)

#: Tokens of another type than Bearer are refused.
TOKEN_TYPE = Switch("token types", (("mcp_login.protocol.token._require_bearer", nothing),))

#: Scopes that nobody asked for are told.
SCOPE_REPORT = Switch("unrequested scopes", (("mcp_login.keeping.Keeping._report_scopes", nothing),))
