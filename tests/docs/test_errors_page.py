"""docs/errors.md: one entry for each class, and its example is what the library says in that case.

Each error is provoked for real, against the embedded server. Addresses are replaced on both sides.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import keyring.backend
import keyring.backends.null
import keyring.errors
import pytest

from mcp_login import KeychainStorage, MemoryStorage, errors, sync
from mcp_login.storage.record import binding_key
from mcp_login.testing import EmbeddedServer, Person, RegisteredClient
from tests.docs.pages import text_of
from tests.docs.run_blocks import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []

URL = "https://mcp.example.com/mcp"
CLASSES = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
ENTRIES = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text_of("errors.md"), re.MULTILINE | re.DOTALL)
#: Bases, of which there is no example.
BASES = {"AuthError", "ErrorResponse"}


class Locked(keyring.backend.KeyringBackend):
    """A keychain that nobody unlocks."""

    priority = 0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def get_password(self, service: str, username: str) -> str | None:
        raise keyring.errors.KeyringLocked("locked")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise keyring.errors.KeyringLocked("locked")


class Foreign(Locked):
    """A keychain in which another program has written."""

    def get_password(self, service: str, username: str) -> str | None:
        return "another program's"


def log_in(person: Person | None = None, options: dict[str, Any] | None = None, **configuration: Any) -> None:
    with EmbeddedServer(**configuration).run() as server:
        storage, asked = MemoryStorage(), person or Person.approves()
        sync.login(server.url, storage=storage, interactive=True, on_authorization_url=asked, **(options or {}))


def wrong_secret() -> None:
    port = free_port()
    known = RegisteredClient(
        client_id="my-agent",
        client_secret="one of the server's",
        redirect_uris=(f"http://127.0.0.1:{port}/callback",),
        token_endpoint_auth_method="client_secret_basic",
    )
    # not a word of the answer: the library takes the secret out of what it quotes
    log_in(options={"client_id": "my-agent", "client_secret": "0123456789", "callback_port": port}, clients=(known,))


def port_taken() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        log_in(options={"callback_port": listener.getsockname()[1]})


def unknown_storage() -> None:
    os.environ["MCP_LOGIN_STORAGE"] = "vault"
    sync.access_token(URL)


def stored(storage: KeychainStorage) -> None:
    sync.access_token(URL, storage=storage)


def no_keychain() -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.null.Keyring())  # type: ignore[no-untyped-call]
    try:
        stored(KeychainStorage())
    finally:
        keyring.set_keyring(before)


def torn_binding() -> None:
    known = RegisteredClient(client_id="my-agent", redirect_uris=("http://127.0.0.1/callback",))
    with EmbeddedServer(clients=(known,)).run() as server:
        storage, asked = MemoryStorage(), Person.approves()
        asyncio.run(storage.save(binding_key(server.url, "my-agent"), "torn"))
        sync.login(server.url, storage=storage, interactive=True, on_authorization_url=asked, client_id="my-agent")


def not_there() -> None:
    server = EmbeddedServer(protected=False, resource_metadata="absent")
    with server.run():
        sync.login(f"{server.origin}/elsewhere", storage=MemoryStorage(), interactive=True)


CASES: dict[str, Callable[[], object]] = {
    "AuthorizationErrorResponse": lambda: log_in(Person.denies()),
    "InvalidResponse": lambda: log_in(advertise_pkce=False),
    "IssuerMismatch": lambda: log_in(iss="wrong"),
    "LoginNotNeeded": lambda: log_in(protected=False, resource_metadata="absent"),
    "LoginRequired": lambda: sync.access_token(URL, storage=KeychainStorage(backend="keyring.backends.null.Keyring")),
    "LoginTimeout": lambda: log_in(Person.closes_the_window(), {"callback_timeout": 0.3}),
    "PolicyError": lambda: sync.login("http://mcp.example.com/mcp", storage=MemoryStorage()),
    "RedirectPortTaken": port_taken,
    "RegistrationErrorResponse": lambda: log_in(redirect_hosts=("localhost",)),
    "RegistrationRequired": lambda: log_in(registration=("pre_registered",)),
    "StorageError": unknown_storage,
    "StorageLocked": lambda: stored(KeychainStorage(backend=Locked())),
    "StorageUnreadable": lambda: KeychainStorage(backend=Foreign()).load_now(URL, 5.0),
    "StorageUnavailable": lambda: stored(KeychainStorage(backend="keyring.backends.fail.Keyring")),
    "TokenErrorResponse": wrong_secret,
    "TransportError": lambda: sync.login(
        f"http://127.0.0.1:{free_port()}/mcp", storage=MemoryStorage(), interactive=True
    ),
}

#: Where a page shows two messages: what says the second.
SECOND: dict[str, Callable[[], object]] = {
    "LoginNotNeeded": not_there,
    "StorageUnavailable": no_keychain,
    "StorageUnreadable": torn_binding,
}


def bare(message: str) -> str:
    """`message` without what differs from run to run."""
    places = r"(https?://)?(127\.0\.0\.1:\d+|\w+\.example\.com)(?=[/\s\].,:]|$)"
    message = re.sub(places, "PLACE", message.replace("http://127.0.0.1/callback", "REDIRECT"))
    message = re.sub(r"\bPort \d+", "Port N", re.sub(r"[\d.]+ seconds", "N seconds", message))
    return re.sub(r"The keychain \([\w.]+\)", "The keychain", message)


def test_every_error_has_exactly_one_entry_with_cause_and_next_step() -> None:
    names = [name for name, _ in ENTRIES]
    assert sorted(names) == sorted({*CLASSES, "StorageWarning"})
    for name, entry in ENTRIES:
        if name not in {"AuthError", "StorageWarning"}:
            assert "**Cause.**" in entry, name
            assert "**Next.**" in entry, name


def test_the_tree_on_the_page_is_that_of_the_classes() -> None:
    tree = re.search(r"```text\n(AuthError\n.*?)```", text_of("errors.md"), re.DOTALL)
    assert tree is not None
    above: list[str] = []
    for line in tree[1].splitlines():
        name = line.lstrip("│├└─ ")
        depth = (len(line) - len(name)) // 4
        if depth:
            assert getattr(errors, name).__base__.__name__ == above[depth - 1]
        above[depth:] = [name]
    assert set(re.findall(r"\w+", tree[1])) == CLASSES


def test_every_error_that_is_raised_has_an_example() -> None:
    assert set(CASES) == CLASSES - BASES
    assert {name for name, entry in ENTRIES if entry.lstrip().startswith("> ")} == CLASSES - BASES


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_example_is_what_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "memory")  # put back after the test that changes it
    cases = [CASES[name], *([SECOND[name]] if name in SECOND else [])]
    for case, shown in zip(cases, re.findall(r"^> (.+)$", dict(ENTRIES)[name], re.MULTILINE), strict=True):
        with pytest.raises(getattr(errors, name)) as caught:
            case()
        assert type(caught.value).__name__ == name
        assert bare(str(caught.value)) == bare(shown)
