"""What makes a test an attack: it names the document that demands the defence, and it is run a second time without.

With the library as it is the attacker must not get what they want. Then with the defence switched off, mechanically, by a
`Switch`: now they must get it, and the test says so by a `Breach`. So no attack is a test that can't fail. Where there are
several defences, each is switched off by itself, too, and the others have to hold: none is named that would not do alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DEFENDED", "UNDEFENDED", "Breach", "Run", "Switch", "attack", "nothing", "refute", "runs"]

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

    def parts(self) -> list[Switch]:
        """It without one of its patches, for each of them."""
        return [
            Switch(f"{self.name}, but for {target}", tuple(patch for patch in self.patches if patch[0] != target))
            for target, _ in self.patches
        ]


@dataclass(frozen=True)
class Run:
    """One run of an attack: which defences are `off`, and whether it has to succeed."""

    name: str
    off: tuple[Switch, ...] = ()
    succeeds: bool = False


DEFENDED, UNDEFENDED = "defended", "undefended"


def runs(defences: tuple[Switch, ...]) -> list[Run]:
    """How often an attack that meets `defences` is run, and how."""
    alone = [Run(f"without {switch.name}", (switch,)) for switch in defences if len(defences) > 1]
    return [Run(DEFENDED), *alone, Run(UNDEFENDED, defences, succeeds=True)]


def attack(source: str, *defences: Switch) -> Callable[[F], F]:
    """Mark a test as an attack that `source`, a section of a document or a published vulnerability, is about.

    Each of `defences` is enough by itself to stop it.
    """
    if not defences:
        raise ValueError("an attack names the defences that it meets; where there is none yet, the test has no @attack")
    return pytest.mark.attack(source=source, defences=defences)
