"""A stored value that was cut, edited, copied or written by another program is told from ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mcp_login.errors import StorageError
from mcp_login.storage.envelope import MOST_PARTS, seal, seal_parts, unseal, utf16_units

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []

TEXT = st.text(st.characters(codec="utf-8"))
KEY = "https://mcp.example.com"
LIMIT = 120
SEALED = seal("s3cr3t payload", key=KEY, generation=7)


@given(payload=TEXT, key=TEXT, generation=st.integers(1, 10**12))
def test_what_was_sealed_is_unsealed(payload: str, key: str, generation: int) -> None:
    assert unseal(seal(payload, key=key, generation=generation), key=key) == (payload, generation, 1)


def test_the_header_is_as_documented() -> None:
    header, payload = SEALED.split("\n", 1)
    assert header.split(" ")[:4] == ["mcp-login", "1", "7", "1"]
    assert len(header.split(" ")[4]) == 16
    assert payload == "s3cr3t payload"


@given(st.text())
def test_any_other_text_is_a_storage_error(text: str) -> None:
    with pytest.raises(StorageError):
        unseal(text, key=KEY)


@given(st.integers(0, len(SEALED) - 1))
def test_a_torn_value_is_refused_and_not_quoted(end: int) -> None:
    with pytest.raises(StorageError) as caught:
        unseal(SEALED[:end], key=KEY)
    assert "s3cr3t" not in repr(caught.value)
    assert caught.value.__context__ is None


@given(st.integers(0, len(SEALED) - 1), st.characters(codec="utf-8"))
def test_a_value_with_one_character_changed_is_refused(place: int, character: str) -> None:
    assume(character != SEALED[place])
    with pytest.raises(StorageError):
        unseal(SEALED[:place] + character + SEALED[place + 1 :], key=KEY)


def test_a_value_that_was_copied_under_another_key_is_refused() -> None:
    with pytest.raises(StorageError):
        unseal(SEALED, key="https://other.example.com")


@pytest.mark.parametrize("header", ["mcp-login 2 anything at all", "mcp-login 1 7 3 0123456789abcdef"])
def test_a_newer_version_and_parts_where_there_can_be_none_are_named(header: str) -> None:
    with pytest.raises(StorageError, match="newer version"):
        unseal(f"{header}\npayload", key=KEY)


def test_text_that_no_backend_could_encode_is_refused_without_quoting_it() -> None:
    with pytest.raises(StorageError) as caught:
        seal("s3cr3t\ud800", key=KEY, generation=1)
    assert caught.value.__context__ is None
    assert "s3cr3t" not in str(caught.value)


def test_no_payload_is_shown() -> None:
    assert "s3cr3t" not in repr(unseal(SEALED, key=KEY))


# Spread over parts


def others(texts: list[str], generation: int = 7) -> Callable[[int, int], str | None]:
    """Finds the parts of `texts` as a keychain would."""
    stored = {(generation, number): text for number, text in enumerate(texts, 1)}
    return lambda *part: stored.get(part)


@given(st.text(st.characters(codec="utf-8"), max_size=400) | st.text("a\N{GRINNING FACE}", max_size=600))
def test_what_was_spread_is_put_together(payload: str) -> None:
    texts = seal_parts(payload, key=KEY, generation=7, limit=LIMIT)
    assert unseal(texts[0], key=KEY, more=others(texts)) == (payload, 7, len(texts))
    assert all(len(text.encode("utf-16-le")) <= 2 * LIMIT for text in texts)
    assert all(text.startswith("mcp-login 1 7 ") for text in texts)


def test_what_fits_is_one_part_without_a_difference() -> None:
    fits = "x" * (LIMIT - len(seal("", key=KEY, generation=7)))
    assert seal_parts(fits, key=KEY, generation=7, limit=LIMIT) == [seal(fits, key=KEY, generation=7)]
    assert len(seal_parts(f"{fits}x", key=KEY, generation=7, limit=LIMIT)) == 2
    assert len(seal_parts("x" * 100_000, key=KEY, generation=7, limit=None)) == 1


def test_windows_counts_characters_beyond_the_basic_plane_twice() -> None:
    """CRED_MAX_CREDENTIAL_BLOB_SIZE is 2,560 bytes of UTF-16."""
    assert utf16_units("a\N{LATIN SMALL LETTER Z WITH CARON}") == 2
    assert utf16_units("\N{GRINNING FACE}") == 2
    for shift in range(2):
        texts = seal_parts("x" * shift + "\N{GRINNING FACE}" * 200, key=KEY, generation=7, limit=LIMIT)
        assert max(len(text.encode("utf-16-le")) for text in texts) <= 2 * LIMIT
        assert len(texts) > 3


def test_no_part_begins_with_what_could_be_a_byte_order_mark() -> None:
    """keyring decodes Windows' credentials as UTF-16, which drops one."""
    payload = "\ufeff" * 1000
    texts = seal_parts(payload, key=KEY, generation=7, limit=LIMIT)
    kept = [text.encode("utf-16-le").decode("utf-16") for text in texts]
    assert unseal(kept[0], key=KEY, more=others(kept)).payload == payload


def test_more_parts_than_a_login_can_need_are_refused() -> None:
    with pytest.raises(StorageError, match="too large") as caught:
        seal_parts("s3cr3t" * 2000, key=KEY, generation=7, limit=LIMIT)
    assert "s3cr3t" not in str(caught.value)
    with pytest.raises(StorageError, match="newer version"):
        unseal(f"mcp-login 1 7 {MOST_PARTS + 1} 0123456789abcdef\n", key=KEY, more=others([]))


@given(st.data())
def test_a_part_that_is_missing_changed_or_of_another_write_is_refused(data: st.DataObject) -> None:
    texts = seal_parts("s3cr3t" * 60, key=KEY, generation=7, limit=LIMIT)
    number = data.draw(st.integers(1, len(texts) - 1))
    of_another = seal_parts("s3cr4t" * 60, key=KEY, generation=7, limit=LIMIT)[number]
    of_a_later = seal_parts("s3cr3t" * 60, key=KEY, generation=8, limit=LIMIT)[number]
    cut = texts[number][: data.draw(st.integers(0, len(texts[number]) - 1))]
    replaced = data.draw(st.sampled_from([of_another, of_a_later, cut, texts[number - 1]]) | st.text())
    assume(replaced != texts[number])
    broken = [*texts[:number], replaced, *texts[number + 1 :]]
    for changed in (broken, texts[:number]):
        with pytest.raises(StorageError, match="torn") as caught:
            unseal(texts[0], key=KEY, more=others(changed))
        assert "s3cr3t" not in str(caught.value)


@given(
    st.text()
    | st.from_regex(r"mcp-login [0-9]{1,20} [0-9]{1,20} [0-9]{1,20} [0-9a-f]{0,20}\n.*")
    | st.from_regex(r"mcp-login 1 [0-9]/[0-9]\n.*"),
    st.text(),
)
def test_any_other_text_with_any_other_parts_is_a_storage_error(text: str, part: str) -> None:
    asked: list[int] = []

    def more(_: int, number: int) -> str:
        asked.append(number)
        return part

    with pytest.raises(StorageError):
        unseal(text, key=KEY, more=more)
    assert len(asked) <= 1


def test_a_file_has_no_parts() -> None:
    texts = seal_parts("s3cr3t" * 60, key=KEY, generation=7, limit=LIMIT)
    with pytest.raises(StorageError, match="newer version"):
        unseal(texts[0], key=KEY)
