"""`mcp-login logout --all`: what is deleted, what fails, and which exit status it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_login import LoginRequired, sync
from mcp_login.cli.commands import run
from mcp_login.storage.index import Index, IndexEntry
from mcp_login.testing import EmbeddedServer, Fault, Person
from tests.unit.cli.documents import parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__: list[str] = []


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """A server with the logins of two accounts."""
    with EmbeddedServer().run() as server:
        for account in (None, "work"):
            person = Person.approves()
            sync.login(server.url, account=account, interactive=True, on_authorization_url=person)
            person.join()
        yield server


def listed(url: str, storage: str) -> None:
    """Have a login listed that isn't there."""
    Index().put(IndexEntry(url, None, storage, "https://issuer.example.com", url, (), 0.0))


def test_all_logins_are_revoked_and_deleted(server: EmbeddedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logout", "--all"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("revoked at the server and deleted here") == 2
    assert server.count("revocation") == 4
    assert sync.accounts() == ()
    for account in (None, "work"):
        with pytest.raises(LoginRequired):
            sync.access_token(server.url, account=account)


def test_an_account_alone_can_be_logged_out(server: EmbeddedServer) -> None:
    assert run(["logout", "--all", "--account", "work"]) == 0
    assert [entry.account for entry in sync.accounts()] == [None]
    assert sync.access_token(server.url)


def test_one_that_fails_keeps_no_other_from_being_tried(
    server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    listed("https://a.example.com/mcp", "keychain")  # which tests don't have
    listed("https://b.example.com/mcp", "redis")
    listed("https://c.example.com/mcp", "file")  # not there: the list may lack its query
    assert run(["logout", "--all", "--json"]) == 7
    document = parse(capsys.readouterr().out)
    assert [(one["deleted"], one["error"] is None) for one in document["logins"]] == [
        *((True, True), (True, True)),
        *((False, False), (False, False), (False, False)),
    ]
    assert {entry.storage for entry in sync.accounts()} == {"keychain", "redis", "file"}
    assert run(["logout", "--all"]) == 7
    said = capsys.readouterr().err
    assert said.count("Warning: Not logged out at") == 3
    assert "mcp-login logout https://c.example.com/mcp" in said
    assert run(["logout", "https://c.example.com/mcp"]) == 0
    assert {entry.storage for entry in sync.accounts()} == {"keychain", "redis"}


def test_a_revocation_that_fails_is_told_of_each(server: EmbeddedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.faults.revocation_endpoint = Fault(status=503, times=None)
    assert run(["logout", "--all", "--json"]) == 13
    document = parse(capsys.readouterr().out)
    assert [(one["deleted"], one["revoked"], one["error"]["code"]) for one in document["logins"]] == [
        (True, False, "not_revoked")
    ] * 2
    assert sync.accounts() == ()


def test_a_login_that_cannot_be_read_is_deleted_and_its_tokens_are_not_called_revoked(
    server: EmbeddedServer, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in home.rglob("*.login"):
        path.write_text("torn", encoding="utf-8")
    assert run(["logout", server.url]) == 13
    said = capsys.readouterr().err
    assert "the login is deleted here.\n" in said
    assert "nothing to revoke" not in said
    assert "could not be read, so its tokens were not revoked: they may live until they expire" in said
    assert run(["logout", "--all", "--json"]) == 13
    (one,) = parse(capsys.readouterr().out)["logins"]
    assert (one["deleted"], one["revoked"], one["error"]["code"]) == (True, False, "not_revoked")
    assert server.count("revocation") == 0


def test_where_the_list_was_damaged_nobody_is_told_that_nothing_is_stored(
    server: EmbeddedServer, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "mcp-login" / "index.json"
    path.write_text("{", encoding="utf-8")
    for command, code in ((["list"], 0), (["status"], 0), (["logout", "--all"], 7), (["logout", "--all", "--json"], 7)):
        assert run(command) == code
        said = capsys.readouterr().err
        assert "No logins are stored" not in said
        assert f"The list of logins was damaged, and is now {path}.broken." in said
    # Nothing is lost but the list.
    assert run(["login", server.url]) == 0
    assert [entry.account for entry in sync.accounts()] == [None]
    assert run(["logout", "--all"]) == 7
    assert run(["logout", server.url, "--account", "work"]) == 0
    assert server.count("revocation") == 4
    path.with_name("index.json.broken").unlink()
    capsys.readouterr()
    assert run(["logout", "--all"]) == 0
    assert capsys.readouterr().err == "No logins are stored. `mcp-login login URL` makes one.\n"


def test_programs_are_told_of_a_damaged_list_in_the_log(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = home / "mcp-login"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.joinpath("index.json").write_text("{", encoding="utf-8")
    assert sync.accounts() == ()
    assert "The list of logins was damaged" in caplog.text


def test_what_is_forgotten_is_said(server: EmbeddedServer, capsys: pytest.CaptureFixture[str]) -> None:
    for where in ("the login is revoked", "There was no login"):
        assert run(["logout", server.url, "--forget-client"]) == 0
        said = capsys.readouterr().err
        assert where in said
        assert "The client id that the server gave is forgotten here: the next login registers anew." in said
    person = Person.approves()
    sync.login(server.url, interactive=True, on_authorization_url=person)
    person.join()
    assert server.count("registration") == 2


def test_a_client_id_is_not_called_forgotten_where_it_is_not(
    closed_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["logout", f"http://127.0.0.1:{closed_port}/mcp", "--forget-client"]) == 0
    assert "The client id is not forgotten" in capsys.readouterr().err


def test_where_nothing_is_stored_nothing_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logout", "--all"]) == 0
    assert capsys.readouterr() == ("", "No logins are stored. `mcp-login login URL` makes one.\n")


def test_where_another_account_is_stored_that_is_said(
    server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["logout", "--all"], ["status"]):
        assert run([*command, "--account", "home"]) == 0
        assert "No login is stored for the account 'home'. `mcp-login list`" in capsys.readouterr().err


def test_a_login_in_another_storage_is_pointed_at(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "memory")
    assert run(["logout", server.url]) == 0
    assert (
        f"There was no login at {server.url}. There is one with --storage file or with --account work"
        in capsys.readouterr().err
    )
    for command in ("status", "token", "logout"):
        assert run([command, server.url, "--storage", "keychain"]) == 7
        assert "There is one with --storage file or with --account work --storage file. " in capsys.readouterr().err


def test_a_failed_revocation_claims_nothing_that_is_not_so(
    server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults.revocation_endpoint = Fault(status=503, times=None)
    assert run(["logout", server.url]) == 13
    said = capsys.readouterr().err
    assert "answered HTTP 503.\n" in said
    assert "Nothing stored was changed" not in said
    assert "try again" not in said


def test_logins_that_differ_in_the_query_are_logged_out_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedServer().run() as server:
        urls = [f"{server.url}{query}" for query in ("", "?key=one", "?key=two")]
        for url in urls:
            person = Person.approves()
            sync.login(url, interactive=True, on_authorization_url=person)
            person.join()
        assert run(["logout", urls[1]]) == 0
        assert len(sync.accounts()) == 2
        capsys.readouterr()
        assert run(["logout", "--all"]) == 7
        said = capsys.readouterr().err
        assert "mcp-login logout" in said
        assert "--storage file" in said
        assert "key=" not in said
        assert [entry.has_query for entry in sync.accounts()] == [True]
        assert run(["logout", urls[2]]) == 0
        assert sync.accounts() == ()
