"""What `on_authorization_url` is told: a string as before, and who asks for what."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import pytest

from mcp_login import AuthorizationUrl, MemoryStorage, sync
from mcp_login.testing import EmbeddedServer, Person

__all__: list[str] = []

TEXT = "https://auth.example.com/authorize?client_id=a&state=s3cret"


def url_of(text: str = TEXT) -> AuthorizationUrl:
    return AuthorizationUrl(
        text,
        server_url="https://mcp.example.com/mcp?key=s3cret",
        issuer="https://auth.example.com",
        resource="https://mcp.example.com/mcp",
        scopes=("files:read", "offline_access"),
        redirect_uri="http://127.0.0.1:4000/callback",
        seconds=300.0,
    )


def test_it_is_a_string_wherever_a_string_is_wanted() -> None:
    url = url_of()
    assert isinstance(url, str)
    assert url == TEXT
    assert hash(url) == hash(TEXT)
    assert f"{url}" == str(url) == "".join([url]) == TEXT
    assert type(str(url)) is type(url.strip()) is str
    assert json.loads(json.dumps({"url": url})) == {"url": TEXT}


@pytest.mark.parametrize("text", [TEXT, "https://auth.example.com/authorize"])
def test_its_repr_holds_neither_the_state_nor_the_server_s_key(text: str) -> None:
    assert "s3cret" not in repr(url_of(text))
    assert "s3cret" not in f"{[url_of(text)]}"
    assert "auth.example.com/authorize" in repr(url_of(text))


def test_a_copy_and_a_pickle_know_as_much() -> None:
    for twin in (copy.copy(url_of()), copy.deepcopy(url_of()), pickle.loads(pickle.dumps(url_of()))):
        assert twin == TEXT
        assert vars(twin) == vars(url_of())


def test_importing_it_loads_no_library() -> None:
    code = "import sys; from mcp_login import AuthorizationUrl; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert {"anyio", "asyncio", "h11", "httpx", "pydantic"}.isdisjoint(loaded.stdout.split())


@pytest.mark.parametrize("resource", [True, False])
def test_a_callback_is_told_what_is_in_the_request(resource: bool) -> None:
    person = Person.approves()
    told: list[AuthorizationUrl] = []

    def show(url: AuthorizationUrl) -> bool:
        told.append(url)
        return person(url)

    with EmbeddedServer(separate_authorization_server=True, resource_parameter="optional").run() as server:
        if resource:
            sync.login(server.url, storage=MemoryStorage(), on_authorization_url=show, callback_timeout=20)
        else:
            sync.login(
                server.url, storage=MemoryStorage(), on_authorization_url=show, callback_timeout=20, resource=None
            )
        person.join()
        asked = server.requests.matching("authorization")[0].params
    [url] = told
    assert (url.server_url, url.issuer) == (server.url, server.issuer)
    assert (url.resource, " ".join(url.scopes)) == (asked.get("resource"), asked["scope"])
    assert (url.resource is None) is not resource
    assert (url.redirect_uri, url.seconds) == (asked["redirect_uri"], 20)
