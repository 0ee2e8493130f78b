"""What pytest is told to note of the attacks that it runs, and what is printed of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.hostile.attack import UNDEFENDED
from tests.hostile.twice import run_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

__all__ = ["Parts", "Results", "Table"]

Went = Literal["well", "FAILED", "skipped", "-"]


@dataclass
class Attack:
    """One attack of the corpus, and how its runs went, by their names."""

    source: str
    defences: str
    runs: dict[str, Went] = field(default_factory=dict)

    def defended(self) -> Went:
        """How those went that the attack has to lose."""
        return _worst(went for name, went in self.runs.items() if name != UNDEFENDED)

    def undefended(self) -> Went:
        """How the one went that it has to win."""
        return _worst(went for name, went in self.runs.items() if name == UNDEFENDED)

    def whole(self) -> Went:
        """How all of them went."""
        return _worst([self.defended(), self.undefended()])

    def was_run(self) -> bool:
        """Whether any of them was."""
        return any(went != "-" for went in self.runs.values())


class Results:
    """A plugin of pytest that is told how each run of an attack went."""

    def __init__(self) -> None:
        self._runs: dict[str, Callable[[Went], None]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the runs of attacks that were chosen."""
        for item in session.items:
            mark = item.get_closest_marker("attack")
            if mark is not None:
                run = run_of(item).name
                name = _name(item.nodeid.replace(f"[{run}]", "").replace(f"[{run}-", "["))
                self._runs[item.nodeid] = self.noted(name, run, mark)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how it went: by the call, and by what else did not pass."""
        note = self._runs.get(report.nodeid)
        if note is not None and (report.when == "call" or not report.passed):
            note("well" if report.passed else "skipped" if report.skipped else "FAILED")

    def noted(self, attack: str, run: str, mark: pytest.Mark) -> Callable[[Went], None]:
        """What is to be called with how `run` of `attack` went."""
        raise NotImplementedError

    def lines(self) -> list[str]:
        """What to print."""
        raise NotImplementedError


class Table(Results):
    """How each attack went, with its defences and without."""

    def __init__(self) -> None:
        super().__init__()
        self.attacks: dict[str, Attack] = {}

    def noted(self, attack: str, run: str, mark: pytest.Mark) -> Callable[[Went], None]:
        """Write it into the table."""
        names = ", ".join(switch.name for switch in mark.kwargs["defences"])
        runs = self.attacks.setdefault(attack, Attack(mark.kwargs["source"], names)).runs
        runs[run] = "-"

        def note(went: Went) -> None:
            runs[run] = went if runs[run] == "-" else _worst([went, runs[run]])

        return note

    def lines(self) -> list[str]:
        """The attacks that were run, and the sums of all that were chosen."""
        rows = [
            line
            for name, one in sorted(self.attacks.items())
            if one.was_run()
            for line in (
                f"{_word(one.defended(), 'held'):<9} {_word(one.undefended(), 'breached'):<9} {name}",
                f"{'':<20}{one.source} [{one.defences}]",
            )
        ]
        return ["defended  without   attack", *rows, self._sums()]

    def _sums(self) -> str:
        if not self.attacks:
            return "No attack was run."
        sums = Counter(one.whole() for one in self.attacks.values())
        count = "1 attack" if len(self.attacks) == 1 else f"{len(self.attacks)} attacks"
        well = "all" if 1 < sums["well"] == len(self.attacks) else sums["well"]
        rest = ", ".join(f"{sums[how]} {word}" for how, word in _REST.items() if sums[how])
        total = f"{count}: {well} stopped, and let through without defences"
        return f"{total}; {rest}" if rest else total


class Parts(Results):
    """Which patches of switches no attack needs to succeed."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, bool] = {}

    def noted(self, attack: str, run: str, mark: pytest.Mark) -> Callable[[Went], None]:
        """Where the attack fails without a patch, it needs it. One that can't be tried here says nothing."""

        def note(went: Went) -> None:
            if went == "skipped":
                return
            self.parts[run] = self.parts.get(run, False) or went == "FAILED"

        return note

    def lines(self) -> list[str]:
        """Those that none needs, of all that were tried."""
        if not self.parts:
            return ["No attack was run."]
        return [f"every attack succeeds with {part}" for part in self.idle()] or ["each patch is needed"]

    def idle(self) -> list[str]:
        """The patches that none needs."""
        return [part for part, is_needed in self.parts.items() if not is_needed]


_REST: dict[Went, str] = {"FAILED": "went otherwise", "skipped": "skipped here", "-": "not run both ways"}
#: From the one that counts most.
_ORDER: tuple[Went, ...] = ("FAILED", "skipped", "-", "well")


def _worst(runs: Iterable[Went]) -> Went:
    found = set(runs)
    return next((how for how in _ORDER if how in found), "-")


def _name(node: str) -> str:
    path, _, name = node.partition("::")
    return f"{Path(path).stem.removeprefix('test_')}: {name.removeprefix('test_').replace('_', ' ')}"


def _word(went: Went, good: str) -> str:
    return good if went == "well" else went
