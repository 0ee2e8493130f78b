"""A stored value that was cut, edited, copied or written by another program is told from ours."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mcp_login.errors import StorageError
from mcp_login.storage.envelope import seal, unseal

__all__: list[str] = []

TEXT = st.text(st.characters(codec="utf-8"))
SEALED = seal("s3cr3t payload", key="https://mcp.example.com", generation=7)


@given(payload=TEXT, key=TEXT, generation=st.integers(1, 10**12))
def test_what_was_sealed_is_unsealed(payload: str, key: str, generation: int) -> None:
    assert unseal(seal(payload, key=key, generation=generation), key=key) == (payload, generation)


def test_the_header_is_as_documented() -> None:
    header, payload = SEALED.split("\n", 1)
    assert header.split(" ")[:4] == ["mcp-login", "1", "7", "1"]
    assert len(header.split(" ")[4]) == 16
    assert payload == "s3cr3t payload"


@given(st.text())
def test_any_other_text_is_a_storage_error(text: str) -> None:
    with pytest.raises(StorageError):
        unseal(text, key="https://mcp.example.com")


@given(st.integers(0, len(SEALED) - 1))
def test_a_torn_value_is_refused_and_not_quoted(end: int) -> None:
    with pytest.raises(StorageError) as caught:
        unseal(SEALED[:end], key="https://mcp.example.com")
    assert "s3cr3t" not in repr(caught.value)
    assert caught.value.__context__ is None


@given(st.integers(0, len(SEALED) - 1), st.characters(codec="utf-8"))
def test_a_value_with_one_character_changed_is_refused(place: int, character: str) -> None:
    assume(character != SEALED[place])
    with pytest.raises(StorageError):
        unseal(SEALED[:place] + character + SEALED[place + 1 :], key="https://mcp.example.com")


def test_a_value_that_was_copied_under_another_key_is_refused() -> None:
    with pytest.raises(StorageError):
        unseal(SEALED, key="https://other.example.com")


@pytest.mark.parametrize("header", ["mcp-login 2 anything at all", "mcp-login 1 7 3 0123456789abcdef"])
def test_a_newer_version_and_more_parts_than_one_are_named(header: str) -> None:
    with pytest.raises(StorageError, match="newer version"):
        unseal(f"{header}\npayload", key="https://mcp.example.com")


def test_text_that_no_backend_could_encode_is_refused_without_quoting_it() -> None:
    with pytest.raises(StorageError) as caught:
        seal("s3cr3t\ud800", key="https://mcp.example.com", generation=1)
    assert caught.value.__context__ is None
    assert "s3cr3t" not in str(caught.value)


def test_no_payload_is_shown() -> None:
    assert "s3cr3t" not in repr(unseal(SEALED, key="https://mcp.example.com"))
