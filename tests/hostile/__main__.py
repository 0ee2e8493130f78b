"""`python -m tests.hostile`: every attack with the document it comes from, and how it went with and without its defences.

Other arguments go to pytest; `--parts` tries instead whether each patch of a switch is needed. The exit status is 0 if every
attack that could be tried here failed, and succeeded without its defences. What was skipped is shown, and counted apart.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.hostile.attack import UNDEFENDED
from tests.hostile.twice import run_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Parts", "Table"]

HERE = Path(__file__).parent

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


class Results:
    """A plugin of pytest that is told how each run of an attack went."""

    def __init__(self) -> None:
        self._runs: dict[str, Callable[[Went], None]] = {}

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note a run of an attack."""
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
            runs[run] = _worst([went, runs[run]])

        return note

    def lines(self) -> list[str]:
        """The table, and its sums."""
        rows = [
            f"{_word(one.defended(), 'held'):<9} {_word(one.undefended(), 'breached'):<9} {name}  [{one.defences}]"
            f"  {one.source}"
            for name, one in sorted(self.attacks.items())
        ]
        sums = Counter(one.whole() for one in self.attacks.values())
        total = f"{len(self.attacks)} attacks, of which {sums['well']} failed, and succeeded without their defences"
        rest = ", ".join(f"{sums[how]} {word}" for how, word in _REST.items() if sums[how])
        return ["defended  without   attack", *rows, f"{total}; {rest}" if rest else total]


class Parts(Results):
    """Which patches of switches no attack needs to succeed."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, bool] = {}

    def noted(self, attack: str, run: str, mark: pytest.Mark) -> Callable[[Went], None]:
        """Where the attack fails without a patch, it needs it."""
        self.parts.setdefault(run, False)

        def note(went: Went) -> None:
            self.parts[run] = self.parts[run] or went == "FAILED"

        return note

    def lines(self) -> list[str]:
        """Those that none needs."""
        idle = [part for part, is_needed in self.parts.items() if not is_needed]
        return [f"every attack succeeds with {part}" for part in idle] or ["each patch is needed"]


_REST: dict[Went, str] = {"FAILED": "went otherwise", "skipped": "skipped here", "-": "not run"}
#: From the one that counts most.
_ORDER: tuple[Went, ...] = ("FAILED", "skipped", "well", "-")


def _worst(runs: Iterable[Went]) -> Went:
    found = set(runs)
    return next((how for how in _ORDER if how in found), "-")


def _name(node: str) -> str:
    path, _, name = node.partition("::")
    return f"{Path(path).stem.removeprefix('test_')}: {name.removeprefix('test_').replace('_', ' ')}"


def _word(went: Went, good: str) -> str:
    return good if went == "well" else went


def main(arguments: list[str]) -> int:
    """The command line."""
    results = Parts() if "--parts" in arguments else Table()
    status = pytest.main([str(HERE), "-q", "-m", "attack", *arguments], plugins=[results])
    sys.stdout.write("\n".join(["", *results.lines(), ""]))
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
