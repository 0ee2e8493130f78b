"""`python -m tests.hostile`: every attack with the document it comes from, and how it went with and without its defence.

Other arguments go to pytest. The exit status is 0 if every attack failed, and succeeded without its defence.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__: list[str] = []

HERE = Path(__file__).parent


@dataclass
class Attack:
    """One attack of the corpus. `held`, `broke`: whether its runs with and without the defence went as they should."""

    source: str
    defences: str
    held: bool | None = None
    broke: bool | None = None


@dataclass
class Table:
    """A plugin of pytest that collects how each attack went."""

    attacks: dict[str, Attack] = field(default_factory=dict)

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note an attack."""
        mark = item.get_closest_marker("attack")
        if mark is not None:
            defences = ", ".join(switch.name for switch in mark.kwargs["defences"])
            self.attacks.setdefault(_name(item.nodeid), Attack(mark.kwargs["source"], defences))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how one of its runs went."""
        attack = self.attacks.get(_name(report.nodeid))
        if attack is None or (report.when != "call" and report.passed):
            return
        if "undefended" in report.nodeid:
            attack.broke = report.passed
        else:
            attack.held = report.passed

    def lines(self) -> list[str]:
        """The table, and its sum."""
        rows = [
            f"{_word(one.held, 'held', 'BREACHED'):<9} {_word(one.broke, 'breached', 'HELD'):<9} {name}  [{one.defences}]"
            f"  {one.source}"
            for name, one in sorted(self.attacks.items())
        ]
        sums = Counter(one.held and one.broke for one in self.attacks.values())
        total = f"{len(self.attacks)} attacks, of which {sums[True]} failed, and succeeded without their defence"
        return ["defended  without   attack", *rows, total]


def _name(node: str) -> str:
    path, _, name = node.partition("::")
    name = (
        name.replace("undefended-", "").replace("defended-", "").replace("[undefended]", "").replace("[defended]", "")
    )
    return f"{Path(path).stem.removeprefix('test_')}: {name.removeprefix('test_').replace('_', ' ')}"


def _word(went_well: bool | None, good: str, bad: str) -> str:
    return "-" if went_well is None else good if went_well else bad


def main(arguments: list[str]) -> int:
    """The command line."""
    table = Table()
    status = pytest.main([str(HERE), "-q", "-m", "attack", *arguments], plugins=[table])
    sys.stdout.write("\n".join(["", *table.lines(), ""]))
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
