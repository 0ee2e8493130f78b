"""Word of refresh tokens that were used up, and of those that a server gave once more."""

from __future__ import annotations

import pytest

from mcp_login.storage.paths import lock_path, state_path
from mcp_login.storage.private_files import write_private
from mcp_login.storage.spent import is_spent, note_tokens, token_digest

__all__: list[str] = []

KEY = "https://mcp.example/mcp"


def lines() -> list[str]:
    return lock_path(state_path() / "locks", KEY, "spent").read_text(encoding="ascii").splitlines()


def test_a_token_that_was_used_up_is_known() -> None:
    note_tokens(KEY, spent="first", fresh="second")
    assert is_spent(KEY, "first")
    assert not is_spent(KEY, "second")
    assert not is_spent("https://other.example/mcp", "first")
    assert "first" not in lines()[0]


def test_a_token_that_a_server_gives_once_more_can_be_used() -> None:
    note_tokens(KEY, spent="first", fresh="second")
    note_tokens(KEY, spent="second", fresh="first")
    assert not is_spent(KEY, "first")
    assert is_spent(KEY, "second")
    note_tokens(KEY, spent=None, fresh="second")
    assert not is_spent(KEY, "second")
    assert lines() == []


def test_a_token_that_stays_is_not_used_up() -> None:
    note_tokens(KEY, spent="same", fresh="same")
    assert not is_spent(KEY, "same")


def test_nothing_is_written_where_nothing_changes() -> None:
    note_tokens(KEY, spent=None, fresh="first")
    assert not lock_path(state_path() / "locks", KEY, "spent").exists()


def test_the_oldest_are_forgotten() -> None:
    for number in range(70):
        note_tokens(KEY, spent=str(number), fresh=str(number + 1))
    assert lines() == [token_digest(str(number)) for number in range(6, 70)]


@pytest.mark.parametrize("torn", ["", "\x00", "0" * 63, "g" * 64, "0" * 64 + "0"])
def test_torn_notes_say_nothing_and_are_replaced(torn: str) -> None:
    write_private(lock_path(state_path() / "locks", KEY, "spent"), torn)
    assert not is_spent(KEY, "first")
    note_tokens(KEY, spent="first", fresh=None)
    assert lines() == [token_digest("first")]
