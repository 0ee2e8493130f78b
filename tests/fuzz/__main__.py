"""Fuzz the parsers by coverage, with atheris: `python -m tests.fuzz [TARGET...] [--seconds N] [--jobs N]`.

Each target runs in a process of its own, for so many seconds of that process's time, from what is kept in
`tests/fuzz/corpus/<target>` and what earlier runs left in `build/fuzz/<target>`, with limits of time and memory for a single
input. An input after which anything escapes is made smaller and printed with its traceback. It lies in
`build/fuzz/<target>/findings` then, and belongs into the corpus under a name that says what it found. `--keep` adds to the
corpus what reached new code, as few and small files as will do.

Needs Linux and the group `fuzz`: `python -m pip install --group fuzz`, with pip 25.1 or newer. The exit status is 1 if something
was found, and 2 if it can't run.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests import clone

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .targets import Target

__all__ = ["Report", "fuzz_all", "main", "say", "table", "why_not"]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "fuzz"

#: The most seconds that one input may take, and the most memory (MiB) of a process. Python, the library and atheris are 80.
SECONDS_PER_INPUT = 5
MOST_MEMORY = 512

#: How many inputs a target is told of, before the command goes on to the next.
MOST_FINDINGS = 3


@dataclass
class Report:
    """What became of a target. `edges` and `features` are libFuzzer's figures at the end, with all inputs."""

    target: Target
    executions: int = 0
    seconds: float = 0.0
    edges: int = 0
    features: int = 0
    memory: int = 0
    findings: list[tuple[Path, str]] = field(default_factory=list)


def why_not() -> str | None:
    """Why the engine can't run here; None where it can."""
    return clone.why_not("atheris", install="python -m pip install --group fuzz (Linux on x86-64, Python 3.11 to 3.13)")


def fuzz_all(targets: Iterable[Target], *, seconds: float, jobs: int, seed: int = 0) -> Iterable[Report]:
    """The reports of the targets, in the order in which they are done, so many at a time. `seed`: 0 is another one each time."""
    from .engine import start
    from .stored import home_of

    waiting = [Report(target) for target in targets]
    running: dict[int, Report] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            report = waiting.pop(0)
            left = seconds - report.seconds
            flags = [*_flags(report.target, left), f"-seed={seed}"]
            running[start(report.target, seconds=left, flags=flags, log=_log(report))] = report
        pid, status, used = os.wait3(0)  # type: ignore[attr-defined, unused-ignore] # on Windows there is no atheris
        report = running.pop(pid)
        shutil.rmtree(home_of(pid), ignore_errors=True)
        report.seconds += used.ru_utime + used.ru_stime
        _read(report, os.waitstatus_to_exitcode(status))
        if report.seconds < seconds - 0.5 and len(report.findings) < MOST_FINDINGS and report.executions:
            waiting.append(report)
        else:
            yield report


def _log(report: Report) -> Path:
    return RESULTS / report.target.name / "log"


def _flags(target: Target, seconds: float) -> list[str]:
    folder = RESULTS / target.name
    for name in ("corpus", "findings"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words), encoding="ascii")
    return [
        f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={MOST_MEMORY}",
        f"-max_len={target.longest}",
        f"-artifact_prefix={folder / 'findings'}/",
        f"-dict={words}",
        "-print_final_stats=1",
        # The process counts its own seconds. This is for a machine that leaves it none.
        f"-max_total_time={int(seconds * 20) + 60}",
        str(folder / "corpus"),
        str(Path(__file__).with_name("corpus") / target.name),
    ]


def _read(report: Report, code: int) -> None:
    """What the engine wrote about its run."""
    said = _log(report).read_text(encoding="utf-8", errors="replace")
    report.executions += _figure(r"(?m)^(?:stat::number_of_executed_units: |#)(\d+)", said)
    report.edges = max(report.edges, _figure(r" cov: (\d+)", said))
    report.features = max(report.features, _figure(r" ft: (\d+)", said))
    report.memory = max(report.memory, _figure(r"stat::peak_rss_mb:\s+(\d+)", said))
    artifact = re.search(r"Test unit written to (.+)", said)
    if artifact is not None:
        report.findings.append((Path(artifact[1]), _reason(said)))
    elif code and "libFuzzer: run interrupted" not in said:
        report.findings.append((_log(report), said[-3000:]))


def _figure(pattern: str, said: str) -> int:
    return max((int(number) for number in re.findall(pattern, said)), default=0)


def _reason(said: str) -> str:
    """The traceback, or what libFuzzer says of time and memory."""
    lines = said.splitlines()
    begin = next((n for n, line in enumerate(lines) if "Uncaught Python exception" in line or "ERROR:" in line), 0)
    return "\n".join(line for line in lines[begin : begin + 60] if not line.startswith(("MS:", "0x", "stat::")))


def _escaped(word: str) -> str:
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in word.encode("utf-8", "surrogatepass")
    )


def table(reports: Iterable[Report]) -> str:
    """The figures, in Markdown."""
    head = "| target | executions | CPU seconds | edges | features | memory (MiB) | findings |"
    rows = [
        f"| {one.target.name} | {one.executions:,} | {one.seconds:.0f} | {one.edges:,} | {one.features:,} | {one.memory:,} | "
        f"{len(one.findings)} |"
        for one in reports
    ]
    return "\n".join([head, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |", *rows])


def say(text: str) -> None:
    """Tell the person, while it goes on."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    reason = why_not()
    if reason is not None:
        say(reason)
        return 2
    from .engine import TARGETS
    from .keeping import keep
    from .smaller import made_smaller

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU seconds for each target (default: 10)")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="the same for the same run once more (default: another)")
    parser.add_argument("--keep", action="store_true", help="add what reached new code to the corpus")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}")
    reports = []
    for report in fuzz_all(
        [TARGETS[name] for name in options.targets or TARGETS],
        seconds=options.seconds,
        jobs=options.jobs,
        seed=options.seed,
    ):
        reports.append(report)
        say(f"{report.target.name}: {report.executions:,} executions, {len(report.findings)} findings")
        for path, said in report.findings:
            say(f"\n{path}\n{said}\n{made_smaller(report.target, path)}\n")
        if options.keep:
            new = keep(report.target, RESULTS / report.target.name / "corpus")
            say(f"{report.target.name}: {len(new)} files added to the corpus")
    say(f"\n{table(reports)}")
    return 1 if any(report.findings for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
