"""What a caller may say: what can't be meant is refused when the object is made, in one sentence."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

import mcp_login
import mcp_login.sync
from mcp_login import FileStorage, MemoryStorage, OAuth, PolicyError

__all__: list[str] = []

URL = "https://mcp.example.com/mcp"
SECRET = "s3cret-of-the-client"


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_url_may_be_one_of_the_http_library(library: Any) -> None:
    assert repr(OAuth(library.URL(URL), storage=MemoryStorage())) == repr(OAuth(URL, storage=MemoryStorage()))


@pytest.mark.parametrize("url", [None, 5, b"https://mcp.example.com", Path("/mcp"), httpx.URL])
def test_what_is_no_url_is_said_when_the_object_is_made(url: Any) -> None:
    with pytest.raises(TypeError, match="server_url is a string, or a URL of httpx or httpx2, not "):
        OAuth(url)
    with pytest.raises(TypeError, match="server_url is a string"):
        asyncio.run(mcp_login.login(url))
    for call in (mcp_login.sync.login, mcp_login.sync.access_token, mcp_login.sync.logout):
        with pytest.raises(TypeError, match="server_url is a string"):
            call(url)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("storage", "file", "an object such as FileStorage"),
        ("storage", MemoryStorage, "not the class MemoryStorage"),
        ("grant", "client_credentials", "an object"),
        ("client_name", 5, "a string"),
        ("client_id", b"id", "a string"),
        ("client_secret", SECRET.encode(), "a string"),
        ("account", 1, "a string"),
        ("resource", 5, "a string, or None"),
        ("scopes", 5, "a string or a sequence of strings"),
        ("scopes", [1], "a string or a sequence of strings"),
        ("callback_port", "8080", "a whole number"),
        ("callback_port", True, "a whole number"),
        ("interactive", "no", "True or False"),
        ("trust_pkce", 1, "True or False"),
        ("on_authorization_url", 3, "a function"),
        ("http_client", httpx2.Limits(), "a function"),
        ("authorize_params", [("prompt", "login")], "a mapping"),
        ("additional_client_metadata", "x", "a mapping"),
    ],
)
def test_an_argument_of_another_type_is_said_when_the_object_is_made(name: str, value: Any, expected: str) -> None:
    with pytest.raises(TypeError) as caught:
        OAuth(URL, **{name: value})
    said = str(caught.value)
    assert said.startswith(f"{name} is ")
    assert expected in said
    assert said.endswith(".")
    assert SECRET not in said


@pytest.mark.parametrize(
    "options",
    [
        {"client_secret": SECRET},
        {"issuer": "https://auth.example.com"},
        {"client_name": ""},
        {"client_id": " "},
        {"account": ""},
        {"callback_timeout": "long"},
    ],
    ids=str,
)
def test_what_would_be_dropped_or_misunderstood_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))) as caught:
        OAuth(URL, **options)
    with pytest.raises(ValueError, match=next(iter(options))):
        mcp_login.sync.login(URL, **options)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["http://app.example.com/client.json", "https://app.example.com", "client.json"])
def test_a_metadata_document_that_can_be_no_client_id_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(PolicyError, match="client metadata URL"):
        OAuth(URL, client_metadata_url=url)


def test_a_misspelt_option_is_not_ignored() -> None:
    misspelt: dict[str, Any] = {"clientid": "known"}
    with pytest.raises(TypeError, match="no option 'clientid'"):
        mcp_login.sync.login(URL, **misspelt)


def test_none_is_the_default_of_any_option() -> None:
    options: dict[str, Any] = dict.fromkeys(
        ("scopes", "client_id", "client_secret", "storage", "callback_port", "grant")
    )
    assert OAuth(URL, **options)


def test_the_folder_of_a_file_storage_may_be_a_string(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "logins"))
    assert storage.lock_folder == FileStorage(tmp_path / "logins").lock_folder
    assert FileStorage("~/logins").lock_folder == Path.home() / "logins"


@pytest.mark.parametrize("path", [5, b"/tmp/logins"])
def test_what_is_no_folder_is_said_when_the_storage_is_made(path: Any) -> None:
    with pytest.raises(TypeError, match="path"):
        FileStorage(path)


def test_an_empty_path_is_not_the_folder_that_the_program_happens_to_run_in() -> None:
    with pytest.raises(ValueError, match="path of a folder"):
        FileStorage("")
