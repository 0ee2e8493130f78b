"""Logging out: revoked at the server (RFC 7009), deleted here in any case.

DESIGN section 3, "Storage.": "`logout` deletes locally even if revocation fails, and reports it; it never revokes what
another account or a newer record uses."
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import TYPE_CHECKING

import pytest

import mcp_login.sync
from mcp_login import (
    FileStorage,
    KeychainStorage,
    LoginRequired,
    MemoryStorage,
    StorageUnreadable,
    TokenErrorResponse,
    TransportError,
    logout,
)
from mcp_login.storage.index import Index, IndexEntry
from mcp_login.storage.paths import data_path
from mcp_login.storage.private_files import write_private
from mcp_login.testing import Fault, Person, RegisteredClient
from tests.flows.support import Login, login_of, store, stored
from tests.unit.storage.keyrings import MemoryKeyring

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_login import Storage
    from tests.flows.conftest import Serve

__all__: list[str] = []


def test_logout_revokes_both_tokens_and_deletes_the_record(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    record = login.record
    result = mcp_login.sync.logout(server.url, storage=login.storage)
    assert (result.deleted, result.revoked, result.error) == (True, True, None)
    assert login.record is None
    assert record is not None
    revoked = [request.params["token"] for request in server.requests.matching("revocation")]
    assert revoked == [record.refresh_token, record.access_token]
    with pytest.raises(LoginRequired):
        mcp_login.sync.access_token(server.url, storage=login.storage)


@pytest.mark.parametrize("damage", ["", "torn", '{"format": 1}'])
def test_tokens_that_cannot_be_read_are_not_called_revoked(
    serve: Serve, person: Person, tmp_path: Path, damage: str
) -> None:
    server = serve()
    folder = tmp_path / "logins"
    storage = FileStorage(folder)
    login_of(server, person, storage=storage)
    for path in folder.glob("*.login"):
        path.write_text(damage)
    result = mcp_login.sync.logout(server.url, storage=storage)
    assert (result.deleted, result.revoked) == (True, False)
    assert isinstance(result.error, StorageUnreadable)
    assert "not revoked: they may live until they expire" in str(result.error)
    assert mcp_login.sync.logout(server.url, storage=storage).deleted is False


@pytest.mark.anyio
async def test_logout_is_the_same_for_asynchronous_callers(serve: Serve, person: Person) -> None:
    server = serve()
    login = await asyncio.to_thread(login_of, server, person)
    result = await logout(server.url, storage=login.storage)
    assert result.revoked is True


def test_a_second_logout_finds_nothing(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    mcp_login.sync.logout(server.url, storage=login.storage)
    server.requests.clear()
    result = mcp_login.sync.logout(server.url, storage=login.storage)
    assert (result.deleted, result.revoked) == (False, None)
    assert len(server.requests) == 0


def test_after_logout_the_next_request_asks_the_person(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    mcp_login.sync.logout(server.url, storage=login.storage)
    assert login.ask().status_code == 200  # an object that still had the token in memory
    assert login.windows == 2
    assert server.count("token", grant_type="refresh_token") == 0
    # The registration is the authorization server's, and is kept.
    assert server.count("registration") == 1


def test_logout_can_forget_the_registration_too(serve: Serve, person: Person) -> None:
    """A command forgets a registration."""
    server = serve()
    login = login_of(server, person)
    mcp_login.sync.logout(server.url, storage=login.storage, forget_client=True)
    assert login.ask(auth=login.oauth()).status_code == 200
    assert server.count("registration") == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=503, times=None), TransportError),
        (Fault(reset=True, times=None), TransportError),
        (Fault(error="invalid_client", status=401, times=None), TokenErrorResponse),
        (Fault(error="unsupported_token_type", times=None), TokenErrorResponse),
    ],
    ids=["down", "reset", "refused", "unsupported"],
)
def test_a_revocation_that_fails_is_reported_and_the_record_deleted(
    serve: Serve, person: Person, fault: Fault, kind: type[Exception]
) -> None:
    server = serve()
    login = login_of(server, person)
    server.faults.revocation_endpoint = fault
    result = mcp_login.sync.logout(server.url, storage=login.storage)
    assert (result.deleted, result.revoked) == (True, False)
    assert isinstance(result.error, kind)
    assert login.record is None
    assert not any(secret in repr(result) for secret in server.secrets())


def test_the_access_token_is_revoked_even_where_the_refresh_token_can_not_be(serve: Serve, person: Person) -> None:
    """RFC 7009 section 2.2.1: a server may support only one kind ("unsupported_token_type")."""
    server = serve()
    login = login_of(server, person)
    server.faults.revocation_endpoint = Fault(error="unsupported_token_type", times=1)
    result = mcp_login.sync.logout(server.url, storage=login.storage)
    assert result.revoked is False
    assert server.count("revocation", token_type_hint="access_token") == 1


def test_a_server_without_revocation_is_no_failure(serve: Serve, person: Person) -> None:
    server = serve(revocation=False)
    login = login_of(server, person)
    result = mcp_login.sync.logout(server.url, storage=login.storage)
    assert (result.deleted, result.revoked, result.error) == (True, None, None)


@pytest.mark.parametrize("storage", ["memory", "file", "keychain"])
def test_the_login_of_another_account_goes_on(serve: Serve, person: Person, storage: str, tmp_path: Path) -> None:
    places: dict[str, Storage] = {
        "memory": MemoryStorage(),
        "file": FileStorage(tmp_path / "logins"),
        "keychain": KeychainStorage(backend=MemoryKeyring()),
    }
    place = places[storage]
    server = serve()
    login_of(server, person, storage=place, account="a")
    b = login_of(server, person, storage=place, account="b")
    assert mcp_login.sync.logout(server.url, storage=place, account="a").revoked
    assert stored(place, server.url, "a") is None
    assert b.ask().status_code == 200
    server.expire_access_tokens()
    assert b.ask().status_code == 200
    assert len(person.urls) == 2


def test_tokens_that_another_account_uses_too_are_not_revoked(serve: Serve, person: Person, tmp_path: Path) -> None:
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    login = login_of(server, person, storage=storage)
    record = login.record
    assert record is not None
    store(storage, dataclasses.replace(record, account="copy"))
    Index().put(
        IndexEntry(
            server_url=server.url,
            account="copy",
            storage="file",
            issuer=record.issuer,
            resource=record.resource,
            scopes=record.granted_scopes,
            updated_at=record.obtained_at,
        )
    )
    result = mcp_login.sync.logout(server.url, storage=storage)
    assert (result.deleted, result.revoked) == (True, None)
    assert server.count("revocation") == 0
    assert login.ask(auth=login.oauth(account="copy")).status_code == 200
    # The last one that uses them revokes them.
    assert mcp_login.sync.logout(server.url, storage=storage, account="copy").revoked


@pytest.mark.parametrize("text", ['{"format": 99, "entries": []}', "torn"])
def test_a_list_that_can_not_be_read_leaves_no_token_alive(
    serve: Serve, person: Person, tmp_path: Path, text: str
) -> None:
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    login_of(server, person, storage=storage)
    write_private(data_path() / "index.json", text)
    result = mcp_login.sync.logout(server.url, storage=storage)
    assert (result.deleted, result.revoked, result.error) == (True, True, None)
    assert server.count("revocation") == 2


def test_a_login_that_comes_meanwhile_is_not_revoked(serve: Serve, person: Person) -> None:
    """... nor what a newer record uses: logout and login take turns."""
    server = serve()
    login = login_of(server, person)
    old = login.record
    go = threading.Event()
    server.faults.revocation_endpoint = Fault(wait_for=go, times=1)
    thread = threading.Thread(target=lambda: mcp_login.sync.logout(server.url, storage=login.storage))
    thread.start()
    server.requests.wait_for("revocation")
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(login.ask(auth=login.oauth()).status_code))
    asking.start()
    server.requests.wait_for("mcp", times=3)
    go.set()
    thread.join(10)
    asking.join(10)
    assert answers == [200]
    new = login.record
    assert new is not None
    assert old is not None
    assert new.refresh_token not in {request.params["token"] for request in server.requests.matching("revocation")}


@pytest.mark.anyio
async def test_a_cancelled_logout_still_deletes_and_revokes(serve: Serve, person: Person) -> None:
    server = serve()
    login = await asyncio.to_thread(login_of, server, person)
    go = threading.Event()
    server.faults.revocation_endpoint = Fault(wait_for=go, times=1)
    call = asyncio.create_task(logout(server.url, storage=login.storage))
    await asyncio.to_thread(server.requests.wait_for, "revocation")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go.set()
    await asyncio.to_thread(server.requests.wait_for, "revocation", times=2)
    assert login.record is None


def test_a_client_with_a_secret_authenticates_its_revocation(serve: Serve, person: Person) -> None:
    client = RegisteredClient(
        client_id="agent",
        client_secret="s3cret",
        redirect_uris=("http://127.0.0.1/callback",),
        accepted_auth_methods=("client_secret_basic", "client_secret_post"),
    )
    server = serve(clients=(client,), any_loopback_port=True)
    login = login_of(server, person, client_id="agent", client_secret="s3cret")
    result = mcp_login.sync.logout(server.url, storage=login.storage, client_id="agent", client_secret="s3cret")
    assert result.revoked


def test_logout_needs_no_client_secret_of_the_callers(serve: Serve, person: Person) -> None:
    """The record holds all a later process needs."""
    server = serve(registration_answer="secret_despite_none")
    login = login_of(server, person)
    assert mcp_login.sync.logout(server.url, storage=login.storage).revoked


def test_logout_asks_nobody_and_needs_no_discovery(serve: Serve, person: Person) -> None:
    server = serve()
    login = login_of(server, person)
    server.requests.clear()
    mcp_login.sync.logout(server.url, storage=login.storage)
    assert set(server.requests.endpoints) == {"revocation"}
    assert login.windows == 1


def test_logout_where_the_server_is_gone_is_done_here(serve: Serve, person: Person, closed_port: int) -> None:
    server = serve()
    login = login_of(server, person)
    record = login.record
    assert record is not None
    store(login.storage, dataclasses.replace(record, revocation_endpoint=f"http://127.0.0.1:{closed_port}/revoke"))
    result = mcp_login.sync.logout(server.url, storage=login.storage)
    assert (result.deleted, result.revoked) == (True, False)
    assert isinstance(result.error, TransportError)


def test_logged_out_programs_are_not_listed(serve: Serve, person: Person, tmp_path: Path) -> None:
    server = serve()
    storage = FileStorage(tmp_path / "logins")
    Login(server, person, storage=storage).ask()
    assert len(mcp_login.sync.accounts()) == 1
    mcp_login.sync.logout(server.url, storage=storage)
    assert mcp_login.sync.accounts() == ()
