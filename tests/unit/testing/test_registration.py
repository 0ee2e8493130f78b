"""The three ways in which a client becomes known to the embedded authorization server.

RFC 7591, the Client ID Metadata Document draft, and OpenID Connect Dynamic Client Registration section 2 for application_type.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_login.testing import EmbeddedServer, RegisteredClient
from tests.unit.testing.flow import REDIRECT_URI, Login, answer_of

pytestmark = pytest.mark.anyio

CLIENT_URL = "https://client.example/oauth/metadata.json"
DOCUMENT = {"client_id": CLIENT_URL, "client_name": "Documented client", "redirect_uris": [REDIRECT_URI]}


async def test_a_public_client_registers_and_gets_no_secret() -> None:
    """RFC 7591 section 3.2.1: all registered metadata is returned, with status 201."""
    login = Login(EmbeddedServer())
    response = await login.register()
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    assert login.client["redirect_uris"] == [REDIRECT_URI]
    assert login.client["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in login.client


async def test_omitted_metadata_means_the_documents_defaults() -> None:
    """RFC 7591 section 2: the default method is client_secret_basic, the default grant authorization_code."""
    login = Login(EmbeddedServer())
    await login.register(token_endpoint_auth_method=None, grant_types=None, response_types=None)
    assert login.client["token_endpoint_auth_method"] == "client_secret_basic"
    assert login.client["grant_types"] == ["authorization_code"]
    assert login.client["client_secret"] in login.server.secrets()
    assert login.client["client_secret_expires_at"] == 0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"redirect_uris": None}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": "http://127.0.0.1/"}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://client.example/callback"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://client.example/callback"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://127.0.0.1/callback#fragment"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://[::1/callback"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["com.example:/callback"]}, "invalid_redirect_uri"),
        ({"application_type": "web"}, "invalid_redirect_uri"),
        ({"application_type": None}, "invalid_redirect_uri"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"grant_types": ["password"]}, "invalid_client_metadata"),
        ({"grant_types": ["refresh_token"]}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"client_name": 7}, "invalid_client_metadata"),
    ],
)
async def test_wrong_metadata_is_refused(changes: dict[str, Any], error: str) -> None:
    response = await Login(EmbeddedServer()).register(**changes)
    assert (response.status_code, response.json()["error"]) == (400, error)


async def test_an_omitted_application_type_can_be_taken_for_native() -> None:
    response = await Login(EmbeddedServer(omitted_application_type="native")).register(application_type=None)
    assert response.status_code == 201


async def test_the_body_has_to_be_json_and_to_say_so() -> None:
    login = Login(EmbeddedServer())
    url = login.server.endpoint("register")
    assert (await login.http.post(url, data={"a": "b"})).status_code == 400
    json_type = {"Content-Type": "application/json"}
    assert (await login.http.post(url, content=b"{", headers=json_type)).status_code == 400
    assert (await login.http.post(url, content=b"[]", headers=json_type)).status_code == 400
    assert (await login.http.get(url)).status_code == 405


async def test_redirect_hosts_can_be_limited() -> None:
    login = Login(EmbeddedServer(redirect_hosts=("localhost",)))
    refused = await login.register()
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_redirect_uri")
    assert (await login.register(redirect_uris=["http://localhost:49200/callback"])).status_code == 201


async def test_unknown_scopes_can_fail_a_registration() -> None:
    login = Login(EmbeddedServer(strict_registration_scopes=True))
    assert (await login.register(scope="mcp unknown")).status_code == 400
    assert (await login.register(scope="mcp")).status_code == 201


async def test_a_registration_can_be_answered_with_200() -> None:
    assert (await Login(EmbeddedServer(registration_status=200)).register()).status_code == 200


async def test_there_can_be_no_dynamic_registration() -> None:
    login = Login(EmbeddedServer(registration=("pre_registered",)))
    assert (await login.register()).status_code == 404
    metadata = (await login.http.get("http://127.0.0.1:8000/.well-known/oauth-authorization-server")).json()
    assert "registration_endpoint" not in metadata


async def test_a_secret_beside_the_method_none_has_to_be_used() -> None:
    """Field notes: Figma."""
    login = Login(EmbeddedServer(auto_approve=True, registration_answer="secret_despite_none"))
    await login.register()
    assert login.client["token_endpoint_auth_method"] == "none"
    assert (await login.exchange(await login.code())).status_code == 401
    secret = login.client["client_secret"]
    assert (await login.exchange(await login.code(), client_secret=secret)).status_code == 200


async def test_a_secret_without_a_method_is_accepted_by_any_that_is_offered() -> None:
    """Field notes: Supabase."""
    login = Login(EmbeddedServer(auto_approve=True, registration_answer="secret_without_method"))
    await login.register()
    assert "token_endpoint_auth_method" not in login.client
    assert (await login.exchange(await login.code())).status_code == 401
    secret = login.client["client_secret"]
    assert (await login.exchange(await login.code(), client_secret=secret)).status_code == 200


async def test_a_pre_registered_client_is_known_and_never_forgotten() -> None:
    known = RegisteredClient(
        client_id="known",
        client_secret="s3cret",
        redirect_uris=(REDIRECT_URI,),
        token_endpoint_auth_method="client_secret_post",
    )
    assert "s3cret" not in repr(known)
    login = Login(EmbeddedServer(auto_approve=True, clients=(known,)), {"client_id": "known"})
    login.server.forget_clients()
    assert (await login.exchange(await login.code(), client_secret="s3cret")).status_code == 200
    assert "s3cret" in login.server.secrets()


def documented(document: object, **settings: Any) -> tuple[Login, list[str]]:
    fetched: list[str] = []

    def fetch(url: str) -> bytes:
        fetched.append(url)
        if isinstance(document, Exception):
            raise document
        return json.dumps(document).encode()

    settings.setdefault("registration", ("metadata_document",))
    settings.setdefault("auto_approve", True)
    return Login(EmbeddedServer(fetch=fetch, **settings), {"client_id": CLIENT_URL}), fetched


async def test_a_client_is_known_by_its_metadata_document() -> None:
    """Client registration, "For Authorization Servers": SHOULD fetch documents for URL client_ids, SHOULD cache them."""
    login, fetched = documented(DOCUMENT)
    members = await login.tokens()
    assert members["refresh_token"]
    assert fetched == [CLIENT_URL]
    metadata = (await login.http.get("http://127.0.0.1:8000/.well-known/oauth-authorization-server")).json()
    assert metadata["client_id_metadata_document_supported"] is True
    login.server.forget_clients()
    await login.authorize()
    assert fetched == [CLIENT_URL] * 2


@pytest.mark.parametrize(
    "document",
    [
        DOCUMENT | {"client_id": f"{CLIENT_URL}/"},
        DOCUMENT | {"redirect_uris": ["http://127.0.0.1:1/callback"]},
        DOCUMENT | {"redirect_uris": []},
        DOCUMENT | {"redirect_uris": "all"},
        DOCUMENT | {"client_name": None},
        DOCUMENT | {"client_secret": "public"},
        DOCUMENT | {"token_endpoint_auth_method": "client_secret_basic"},
        [],
        OSError("unreachable"),
    ],
)
async def test_a_wrong_metadata_document_redirects_nobody(document: object) -> None:
    """MUST validate that the fetched document's client_id matches the URL exactly, and redirect URIs against the document."""
    login, _ = documented(document)
    response = await login.authorize()
    assert response.status_code == 400
    assert "location" not in response.headers


@pytest.mark.parametrize("client_id", ["http://client.example/metadata.json", "client.example/metadata.json"])
async def test_only_https_client_ids_are_fetched(client_id: str) -> None:
    login, fetched = documented(DOCUMENT | {"client_id": client_id})
    assert (await login.authorize(client_id=client_id)).status_code == 400
    assert not fetched


async def test_metadata_documents_count_only_where_they_are_supported() -> None:
    login, fetched = documented(DOCUMENT, registration=("dynamic",))
    assert (await login.authorize()).status_code == 400
    assert not fetched


async def test_the_page_shows_the_documents_name() -> None:
    login, _ = documented(DOCUMENT, auto_approve=False)
    page = await login.authorize()
    assert "Documented client" in page.text
    assert answer_of(await login.decide(page))["code"]


async def test_a_document_that_can_not_be_reached_redirects_nobody() -> None:
    url = "https://127.0.0.1:1/metadata.json"
    login = Login(EmbeddedServer(registration=("metadata_document",)), {"client_id": url})
    assert (await login.authorize()).status_code == 400
