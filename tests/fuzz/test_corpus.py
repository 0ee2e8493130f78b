"""What is kept for the engine passes everywhere: documents, what coverage found, and each input that ever broke something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_login.errors import AuthError, InvalidResponse, PolicyError
from tests.fuzz.checks import LONGEST_MESSAGE, judged, require_clean_error
from tests.fuzz.keeping import LARGEST_KEPT, MOST_KEPT, keep, reached
from tests.fuzz.smaller import escape_of, made_smaller
from tests.fuzz.targets import CORPUS, TARGETS, Target, corpus_of

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []

each = pytest.mark.parametrize("name", TARGETS)
SECRET = "mF_9.B5f-4.1JqM"


@each
def test_nothing_that_is_kept_makes_anything_escape(name: str) -> None:
    for path in corpus_of(name):
        try:
            TARGETS[name].run(path.read_bytes())
        except Exception as error:
            error.add_note(f"the input is {path.relative_to(CORPUS)}")
            raise


@each
def test_the_corpus_of_a_target_is_small_and_reaches_its_parser(name: str) -> None:
    files = corpus_of(name)
    assert 5 <= len(files) <= MOST_KEPT + 10
    assert sum(path.stat().st_size for path in files) < 64 * 1024
    assert all(path.stat().st_size <= LARGEST_KEPT for path in files if path.name.startswith("found-"))
    ways = [reached(TARGETS[name], path.read_bytes()) for path in files]
    assert len(set.union(*ways)) > 10
    assert len({frozenset(way) for way in ways}) > 2


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


# The checks can fail


@pytest.mark.parametrize(
    "error",
    [
        InvalidResponse("reason", url="https://a.example", message="two\nlines"),
        PolicyError("\x1b[31mred"),
        PolicyError("\u202egnihtemos"),
        PolicyError("\u2028"),
        PolicyError(f"Bearer {SECRET}"),
        PolicyError("x" * (LONGEST_MESSAGE + 1)),
        PolicyError(" "),
    ],
)
def test_an_error_that_is_not_clean_is_found(error: AuthError) -> None:
    with pytest.raises(AssertionError):
        require_clean_error(error, SECRET)


def test_a_secret_behind_an_error_is_found() -> None:
    """Also one that `from None` hides: trackers of errors write the hidden context down."""

    def fail() -> None:
        try:
            raise ValueError(SECRET)  # noqa: TRY301 - as it is where an error has a past
        except ValueError:
            raise PolicyError("Refused.") from None

    with pytest.raises(AssertionError, match="ValueError tells a secret"), judged(SECRET):
        fail()
    with judged("another secret"):
        fail()


def test_another_exception_than_ours_escapes() -> None:
    with pytest.raises(KeyError), judged():
        raise KeyError("x")


# What comes of a finding


def _breaks_on_brackets(data: bytes) -> None:
    if b"[[" in data and b"]" in data:
        raise RuntimeError("brackets")


def test_the_place_of_an_escape_is_known_and_nothing_is_nothing() -> None:
    target = Target("brackets", _breaks_on_brackets)
    assert escape_of(target, b"[]") is None
    found = escape_of(target, b"x[[]]")
    assert found is not None
    assert found[0] == "RuntimeError"
    assert found[1] == __file__


def test_an_input_that_ends_in_nothing_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "crash"
    path.write_bytes(b"Bearer x")
    assert "escapes in the engine only" in made_smaller(TARGETS["challenge"], path)
    assert path.read_bytes() == b"Bearer x"


def test_what_reaches_new_code_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.keeping.CORPUS", tmp_path / "kept")
    monkeypatch.setattr("tests.fuzz.targets.CORPUS", tmp_path / "kept")
    for folder in ("kept/challenge", "found"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "kept" / "challenge" / "first").write_bytes(b"Basic")
    for name, data in {"same": b"Basik", "new": b'Bearer realm="a"', "large": b"DPoP a=b," * 1000}.items():
        (tmp_path / "found" / name).write_bytes(data)
    new = keep(TARGETS["challenge"], tmp_path / "found")
    assert [path.read_bytes() for path in new] == [b'Bearer realm="a"']
    assert keep(TARGETS["challenge"], tmp_path / "found") == []
