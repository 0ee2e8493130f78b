"""`mcp-login status` against real storages in files, at times that the test chooses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_login import FileStorage
from mcp_login.cli.commands import run
from mcp_login.cli.failure import CommandFailed
from mcp_login.cli.status import StoredLogin, expiry_of, print_status
from mcp_login.protocol.client import ClientInformation
from mcp_login.storage.index import Index, IndexEntry
from mcp_login.storage.record import Record
from tests.unit.cli.documents import parse

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

NOW = 1_785_230_000.0
ISSUER = "https://issuer.example.com"
FILES = "https://files.example.com/mcp"
MAIL = "https://mail.example.com/mcp"


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")


def login(url: str, **changes: Any) -> Record:
    """A login at `url` that is good for another 50 minutes."""
    record = Record(
        server_url=url,
        issuer=ISSUER,
        client=ClientInformation(ISSUER, "the-client", "dynamic", client_secret="s3cret"),
        token_endpoint=f"{ISSUER}/token",
        access_token="t0ken-for-access",
        refresh_token="t0ken-for-refresh",
        resource=url,
        expires_at=NOW + 3000,
        obtained_at=NOW - 600,
        granted_scopes=("files:read",),
    )
    return replace(record, **changes)


def entry(record: Record, storage: str = "file") -> IndexEntry:
    """How `record` is listed."""
    url = record.server_url.partition("?")[0]
    return IndexEntry(url, record.account, storage, ISSUER, record.resource, record.granted_scopes, NOW - 600)


def keep(*records: Record, listed: bool = True) -> None:
    """Store `records` as a login does."""

    async def save() -> None:
        for record in records:
            await FileStorage().save(record.key, record.dump())

    anyio.run(save)
    for record in records if listed else ():
        Index().put(entry(record))


def status(
    url: str | None = None, *, account: str | None = None, storage: str | None = None, json: bool = False
) -> int:
    """The command at the time `NOW`."""
    return print_status(url, account=account, storage=storage, json=json, clock=lambda: NOW)


def test_one_login_is_told_whole_and_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    keep(login(FILES, account="work"))
    assert status(FILES, account="work") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        FILES,
        "  account       work",
        "  storage       file",
        "  state         valid",
        "  expires       in 50 minutes",
        "  renewal       without asking you",
        f"  issuer        {ISSUER}",
        "  registration  dynamic",
        "  client id     the-client",
        "  scopes        files:read",
    ]
    assert captured.err == ""


@pytest.mark.parametrize(
    ("changes", "code", "state", "expiry"),
    [
        ({}, 0, "valid", "in 50 minutes"),
        ({"expires_at": None}, 0, "valid", "unknown: the server doesn't say"),
        ({"expires_at": NOW - 7200}, 0, "renewable", "2 hours ago"),
        ({"expires_at": NOW - 7200, "refresh_token": None}, 3, "expired", "2 hours ago"),
        ({"refresh_token": None}, 0, "valid", "in 50 minutes"),
    ],
)
def test_the_exit_code_says_whether_somebody_has_to_log_in(
    capsys: pytest.CaptureFixture[str], changes: dict[str, Any], code: int, state: str, expiry: str
) -> None:
    record = login(FILES, **changes)
    keep(record)
    assert status(FILES) == code
    captured = capsys.readouterr()
    assert f"state         {state}" in captured.out
    assert f"expires       {expiry}" in captured.out
    assert (f"mcp-login login {FILES}" in captured.err) is (code == 3)
    assert status(FILES, json=True) == code
    document = parse(capsys.readouterr().out)
    assert [found["state"] for found in document["logins"]] == [state]
    assert expiry_of(record, NOW) == expiry


def test_a_login_that_is_not_there_is_an_error_with_the_command_that_makes_one() -> None:
    with pytest.raises(CommandFailed) as caught:
        status(FILES, account="my work")
    assert caught.value.code == 3
    assert caught.value.hint == f"Log in first: mcp-login login {FILES} --account 'my work'"


def test_a_login_of_another_account_or_in_another_storage_is_pointed_at() -> None:
    keep(login(FILES, account="work"))
    Index().put(entry(login(FILES), "keychain"))
    with pytest.raises(CommandFailed) as caught:
        status(FILES)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("There is one with --storage keychain or with --account work. ")


def test_a_login_that_is_not_listed_is_found_by_its_url(capsys: pytest.CaptureFixture[str]) -> None:
    keep(login(f"{FILES}?key=k3y"), listed=False)
    assert status(f"{FILES}?key=k3y") == 0
    assert "k3y" not in capsys.readouterr().out


def test_an_intranet_s_login_needs_no_option_since_nothing_is_sent() -> None:
    keep(login("http://intranet.example.com/mcp"))
    assert status("http://intranet.example.com/mcp") == 0


def test_without_a_url_every_login_is_a_line_and_the_exit_code_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    keep(login(FILES), login(MAIL, expires_at=NOW - 60, refresh_token=None, granted_scopes=()))
    assert status() == 0
    heads, first, second = capsys.readouterr().out.splitlines()
    assert heads.startswith("SERVER  ")
    assert first.startswith(f"{FILES}  -        file     valid    in 50 minutes   without asking you")
    assert second.startswith(f"{MAIL}   -        file     expired  60 seconds ago  none: you log in again")


def test_account_and_storage_choose_among_them(capsys: pytest.CaptureFixture[str]) -> None:
    keep(login(FILES), login(FILES, account="work"), login(MAIL, account="work"))
    for options, count in (({"account": "work"}, 2), ({"storage": "keychain"}, 0), ({"storage": "file"}, 3)):
        assert status(json=True, **options) == 0
        assert len(json.loads(capsys.readouterr().out)["logins"]) == count


def test_what_is_listed_and_gone_or_broken_or_another_program_s_is_said_plainly(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    keep(login(FILES))
    Index().put(entry(login(MAIL)))
    Index().put(entry(login("https://a.example.com"), "redis"))
    broken = login("https://b.example.com")
    keep(broken)
    before = {path: path.read_text() for path in (home / "mcp-login" / "credentials").glob("*.login")}
    for path, text in before.items():
        if "b.example.com" in text:
            path.write_text("torn", encoding="utf-8")
    assert status() == 0
    captured = capsys.readouterr()
    assert [line.split()[3] for line in captured.out.splitlines()[1:]] == [
        "unreadable",
        "unreadable",
        "valid",
        "missing",
    ]
    assert "a storage of another program" in captured.err
    assert f"{MAIL}: It is listed, but not in the storage file any more" in captured.err
    assert status(json=True) == 0
    document = parse(capsys.readouterr().out)
    assert [found["problem"] is None for found in document["logins"]] == [False, False, True, False]


def test_a_keychain_that_cannot_be_read_is_shown_and_is_a_failure_only_if_nothing_else_could_be_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Index().put(entry(login(MAIL), "keychain"))
    assert run(["status"]) == 7
    captured = capsys.readouterr()
    assert [line.split()[3] for line in captured.out.splitlines()[1:]] == ["unreadable"]
    assert captured.err.startswith(f"Warning: {MAIL}: ")
    assert "--storage file keeps the login in a file" in captured.err
    assert run(["status", "--json"]) == 7
    (one,) = parse(capsys.readouterr().out)["logins"]
    assert (one["server_url"], one["state"]) == (MAIL, "unreadable")
    keep(login(FILES))
    assert run(["status"]) == 0
    captured = capsys.readouterr()
    assert [line.split()[3] for line in captured.out.splitlines()[1:]] == ["renewable", "unreadable"]
    assert captured.err.startswith(f"Warning: {MAIL}: ")


def test_a_damaged_login_that_is_asked_for_needs_a_login_for_the_status_as_for_the_token(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    keep(login(FILES))
    for path in (home / "mcp-login" / "credentials").glob("*.login"):
        path.write_text("torn", encoding="utf-8")
    for command in ("status", "token"):
        assert run([command, FILES]) == 3
        said = capsys.readouterr().err
        assert FILES in said
        assert f"mcp-login login {FILES}" in said
    assert run(["status"]) == 7
    assert "unreadable" in capsys.readouterr().out


def test_no_secret_is_in_what_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    keep(login(f"{FILES}?key=k3y", resource=f"{FILES}?key=k3y"))
    keep(login(FILES))
    for as_json in (False, True):
        assert status(f"{FILES}?key=k3y", json=as_json) == 0
        assert status(json=as_json) == 0
    captured = capsys.readouterr()
    assert "the-client" in captured.out
    assert not [secret for secret in ("k3y", "s3cret", "t0ken") if secret in captured.out + captured.err]


def test_a_stored_login_shows_no_token_in_its_repr() -> None:
    assert "t0ken" not in repr(StoredLogin("file", login(FILES)))
