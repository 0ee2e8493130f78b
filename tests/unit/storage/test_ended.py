"""Word of logins that somebody has ended, for programs that still have them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from mcp_login import FileStorage, MemoryStorage
from mcp_login.protocol.client import ClientInformation
from mcp_login.storage.ended import begin_anew, note_ended, was_ended
from mcp_login.storage.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_login import Storage

__all__: list[str] = []

URL = "https://mcp.example/mcp"
LOGIN = Record(
    server_url=URL,
    issuer="https://as.example",
    client=ClientInformation(issuer="https://as.example", client_id="c", mechanism="dynamic"),
    token_endpoint="https://as.example/token",
    access_token="example-access-token",
    resource=URL,
    refresh_token="example-refresh-token",
    obtained_at=1000.0,
)


def other(obtained_at: float) -> Record:
    """A login with tokens of its own."""
    return dataclasses.replace(
        LOGIN,
        obtained_at=obtained_at,
        access_token=f"access {obtained_at:g}",
        refresh_token=f"refresh {obtained_at:g}",
    )


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return FileStorage(tmp_path / "logins")


def test_a_login_of_which_nothing_is_noted_was_not_ended(storage: Storage) -> None:
    assert not was_ended(storage, URL, LOGIN)


def test_the_login_that_was_ended_is_known_and_no_other(storage: Storage) -> None:
    note_ended(storage, URL, LOGIN)
    assert was_ended(storage, URL, LOGIN)
    assert was_ended(storage, URL, dataclasses.replace(LOGIN, access_token="another", obtained_at=2000.0))
    assert not was_ended(storage, URL, other(500.0))
    assert not was_ended(storage, f"{URL}#account", LOGIN)


def test_a_logout_ends_all_that_was_obtained_before_it_and_nothing_later(storage: Storage) -> None:
    note_ended(storage, URL, None, at=1500.0)
    assert was_ended(storage, URL, LOGIN)
    assert was_ended(storage, URL, other(1500.0))
    assert not was_ended(storage, URL, other(1501.0))


def test_a_clock_that_was_set_back_does_not_hide_what_was_ended(storage: Storage) -> None:
    note_ended(storage, URL, LOGIN, at=10.0)
    assert was_ended(storage, URL, LOGIN)


def test_a_login_is_not_touched_by_the_logout_of_a_clock_that_was_ahead(storage: Storage) -> None:
    note_ended(storage, URL, other(500.0), at=9000.0)
    begin_anew(storage, URL, [LOGIN])
    assert not was_ended(storage, URL, LOGIN)
    assert was_ended(storage, URL, other(500.0))


def test_the_last_ends_are_remembered_and_not_all(storage: Storage, tmp_path: Path) -> None:
    logins = [other(float(number)) for number in range(100)]
    for login in logins:
        note_ended(storage, URL, login)
    assert was_ended(storage, URL, logins[-1])
    assert not was_ended(storage, URL, logins[0])
    [note] = (tmp_path / "logins").glob("*.ended")
    assert len(note.read_text().splitlines()) <= 64


def test_a_note_that_can_not_be_read_says_nothing_and_is_replaced(storage: Storage, tmp_path: Path) -> None:
    note_ended(storage, URL, LOGIN)
    [note] = (tmp_path / "logins").glob("*.ended")
    note.write_bytes(b"\xff\x00 torn")
    assert not was_ended(storage, URL, LOGIN)
    note_ended(storage, URL, LOGIN)
    assert was_ended(storage, URL, LOGIN)


def test_where_no_word_can_be_left_the_logout_goes_on_and_it_is_said(
    storage: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logins").write_text("in the way")
    note_ended(storage, URL, LOGIN, at=2000.0)
    assert "no word of the end of a login" in caplog.text
    assert not was_ended(storage, URL, LOGIN)


def test_a_note_holds_no_token(storage: Storage, tmp_path: Path) -> None:
    note_ended(storage, URL, LOGIN, at=2000.0)
    text = "".join(path.read_text() for path in (tmp_path / "logins").iterdir())
    assert LOGIN.access_token not in text
    assert "example-refresh-token" not in text


def test_what_is_gone_from_memory_was_ended(tmp_path: Path) -> None:
    """Nobody cleans up in there, and nothing of it is noted."""
    storage = MemoryStorage()
    note_ended(storage, URL, LOGIN)
    assert was_ended(storage, URL, LOGIN)
    assert list(tmp_path.iterdir()) == []
