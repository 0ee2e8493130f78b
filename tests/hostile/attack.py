"""What makes a test an attack: it names the document that demands the defence, and it is run twice.

With the library as it is the attacker must not get what they want. Then with the defence switched off, mechanically, by a
`Switch`: now they must get it, and the test says so by a `Breach`. So no attack is a test that can't fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Breach", "Switch", "attack", "nothing", "refute"]

F = TypeVar("F", bound="Callable[..., None]")


class Breach(AssertionError):
    """The attacker saw, got or caused what they wanted."""


def refute(observed: object, what: str) -> None:
    """Raise `Breach` if the attacker `observed` anything. `what` says what that means; it must hold no secret."""
    if observed:
        raise Breach(what)


def nothing(*_: Any, **__: Any) -> None:
    """In place of a check that raises."""


@dataclass(frozen=True)
class Switch:
    """Switches one defence of the library off: `patches` are dotted names, and what takes their place."""

    name: str
    patches: tuple[tuple[str, Any], ...]

    def off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Leave the library without this defence until the test ends. Names that don't exist are an error."""
        for target, replacement in self.patches:
            monkeypatch.setattr(target, replacement)


def attack(source: str, *defences: Switch) -> Callable[[F], F]:
    """Mark a test as an attack that `source`, a section of a document or a published vulnerability, is about.

    Each of `defences` is enough by itself to stop it, so all of them are off in the second run.
    """
    if not defences:
        raise ValueError("an attack names the defences that it meets")
    return pytest.mark.attack(source=source, defences=defences)
