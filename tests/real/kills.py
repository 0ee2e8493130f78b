"""Kills a process with SIGKILL in the middle of a refresh or a login, and looks at what a later process finds.

`Kills` has an embedded server, a program that dies (`kill_points`) and a storage: files, or the keychain of the environment.
`walk` kills at each call to the machine in turn, `at_random` at random moments, `leave` ends the process in good order at each
await point of the library's own loop, and `window` measures how long a kill is fatal. The command is benchmarks/kills.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import httpx

from mcp_login import MemoryStorage
from mcp_login.storage.record import Record, record_key
from mcp_login.testing import EmbeddedServer
from tests.real import parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["SCENARIOS", "WHENS", "End", "Kills", "Scenario", "Window", "summary"]

#: `refresh` of an expired login; a first `login`; a `login again`, in place of one that is still good.
Scenario = Literal["refresh", "login", "login again"]
SCENARIOS: tuple[Scenario, ...] = ("refresh", "login", "login again")

#: Where in a call the process is killed: before it, with half of what it sends or writes gone out, or when it has returned.
WHENS = ("before", "half", "after")

#: After these calls the new record is there for every later process.
_STORED = ("replace login", "set_password keychain")


@dataclass(frozen=True, slots=True)
class End:
    """What became of one process, and of the login."""

    #: The call at which it was killed; "" if it ended unharmed.
    call: str
    when: str
    stored: Literal["old", "new", "none", "unreadable"]
    #: Whether the server has given tokens for what the process had sent.
    acted: bool
    #: What a later process's first request came to, without a person: a status, or the name of an error.
    answer: str
    answer_after_login: str = ""
    trouble: str = ""

    @property
    def lost(self) -> bool:
        """The server acted, and nobody has what it gave."""
        return self.acted and self.stored != "new"

    def problem(self, scenario: Scenario) -> str:
        """What is wrong with it: nothing, if it is lost in the one way that can't be helped."""
        if self.trouble or self.stored == "unreadable":
            return self.trouble or "unreadable"
        if self.lost and self.when == "exit":
            return "lost, although nobody was killed"
        if scenario == "refresh":
            good = self.answer == ("LoginRequired" if self.lost else "200")
        elif scenario == "login again":
            good = self.answer == "200"  # the login before is as good as ever
        elif self.stored == "new":
            good = self.answer == "200"
        else:
            good = self.answer == "LoginRequired" and self.answer_after_login == "200"
        return "" if good else f"a later request: {self.answer} {self.answer_after_login}".rstrip()


@dataclass(frozen=True, slots=True)
class Window:
    """How long a kill loses the login, in milliseconds each: from the server's rotation, and from when the answer is here.

    `looking_up`: how much of it the keychain takes to say what is stored, before it is given the new record.
    """

    since_rotation: list[float]
    since_answer: list[float]
    looking_up: list[float]
    #: The calls that lie in it, in order.
    calls: list[str]

    def text(self, unit: str = "ms") -> str:
        """Both as text."""
        parts = []
        named = (
            ("from the server's rotation to our write", self.since_rotation),
            ("from the server's answer to our write", self.since_answer),
            ("of that to look up what is stored", self.looking_up),
        )
        for name, times in named:
            if times:
                ordered = sorted(times)
                parts.append(
                    f"{name}: median {statistics.median(ordered):.2f} {unit}, "
                    f"95 % {ordered[int(len(ordered) * 0.95)]:.2f}, longest {ordered[-1]:.2f}"
                )
        return "\n".join(parts)


class Kills:
    """Processes that die, inside a `with` block. `environment`: of these processes, with a keychain if `kind` says so."""

    def __init__(self, kind: Literal["file", "keychain"], folder: Path, environment: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", "tests.real.kill_points", kind, str(folder)]
        self._environment = {**environment, "MCP_LOGIN_HOME": str(folder / "home"), "PYTHONPATH": str(parts.ROOT)}
        self._stack = contextlib.ExitStack()
        self._old = ""

    def __enter__(self) -> Kills:
        self._server = self._stack.enter_context(EmbeddedServer(auto_approve=True).run())
        self._process = self._stack.enter_context(
            subprocess.Popen(
                self._command,
                cwd=parts.ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        self._stack.callback(self._process.kill)
        self.errors: list[str] = []
        reader = threading.Thread(target=self._read_errors, daemon=True)
        reader.start()
        self._browser = httpx.Client(trust_env=False, verify=False, follow_redirects=True, timeout=20)
        self._stack.enter_context(self._browser)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def calls(self, scenario: Scenario) -> list[tuple[str, int]]:
        """The calls of a process that isn't killed: each one's name, and its number among those of that name."""
        found: Counter[str] = Counter()
        calls = []
        for name, _ in self._unharmed(scenario)["trace"]:
            found[name] += 1
            calls.append((name, found[name]))
        return calls

    def walk(self, scenario: Scenario, whens: Iterable[str] = WHENS, stride: int = 1) -> Iterator[End]:
        """Kill at every `stride`-th call in turn, in each of the ways."""
        calls = self.calls(scenario)
        for when in whens:
            # Nothing else has a half.
            wanted = [call for call in calls if when != "half" or call[0].startswith(("send", "write"))]
            for call in wanted[::stride]:
                end = self._kill(scenario, at=call, when=when)
                # A call that one process needs and another doesn't, such as a second receive, is not always there.
                if end is not None:
                    yield end

    def at_random(self, scenario: Scenario, times: int, seed: int) -> Iterator[End]:
        """Kill `times` processes at random moments of the time that one takes."""
        chance = random.Random(seed)
        durations = []
        for _ in range(5):
            found = self._unharmed(scenario)
            durations.append(found["trace"][-1][1] - found["began_at"])
        longest = max(durations) * 1.1
        while times > 0:
            end = self._kill(scenario, random_after=chance.uniform(0, longest))
            # One that was over before its time shows nothing.
            if end is not None:
                yield end
                times -= 1

    def leave(self, scenario: Scenario, stride: int = 1) -> Iterator[End]:
        """Let the main thread return before every `stride`-th step of the library's loop in turn."""
        number = 1
        while True:
            end = self._kill(scenario, exit_at=number)
            if end is None:
                break
            yield end
            number += stride

    def window(self, scenario: Scenario, times: int) -> Window:
        """Measure `times` processes that aren't killed."""
        since_rotation, since_answer, looking_up, calls = [], [], [], []
        for _ in range(times):
            trace = self._unharmed(scenario)["trace"]
            rotated = self._server.requests.matching("token")[-1].at
            names = [name for name, _ in trace]
            # A login writes its registration and binding as well: the record is the first write after the answer.
            end = min(index for index, name in enumerate(names) if name in _STORED and trace[index][1] > rotated)
            begin = max(i for i, name in enumerate(names[:end]) if name.startswith("send") and name.endswith("server"))
            answer = next(i for i in range(begin + 1, end) if names[i].startswith("recv") and "server" in names[i])
            since_rotation.append((trace[end][1] - rotated) * 1e3)
            since_answer.append((trace[end][1] - trace[answer][1]) * 1e3)
            calls = names[begin : end + 1]
            if "get_password keychain" in calls:
                looked = max(index for index in range(end) if names[index] == "get_password keychain")
                # The lock of those who write is the last call before it.
                locked = max(index for index in range(looked) if names[index] == "flock write")
                looking_up.append((trace[looked][1] - trace[locked][1]) * 1e3)
        return Window(since_rotation, since_answer, looking_up, calls)

    # One process

    def _order(self, scenario: Scenario, **changes: Any) -> dict[str, Any]:
        key = record_key(self._server.url, None)
        text = None
        if scenario != "login":
            storage = MemoryStorage()
            self._server.sign_in(storage)
            text = storage.load_now(key, 5.0)
            assert text is not None
            record = Record.parse(text)
            age = 7200.0 if scenario == "refresh" else 0.0
            assert record.expires_at is not None
            record = dataclasses.replace(
                record, expires_at=record.expires_at - age, obtained_at=record.obtained_at - age
            )
            self._old = text = record.dump()
        else:
            self._old = ""
        order: dict[str, Any] = {"do": "run", "scenario": scenario, "url": self._server.url, "key": key, "text": text}
        # Nothing is left of a first login: neither the list of logins nor the registration.
        order |= {"clear": scenario == "login", "port": httpx.URL(self._server.url).port}
        return order | {"at": None, "when": "before", "exit_at": None, "may_log_in": scenario == "login"} | changes

    def _unharmed(self, scenario: Scenario) -> dict[str, Any]:
        found = self._give(self._order(scenario))
        assert found["end"] == 0, self.errors
        return found

    def _kill(
        self,
        scenario: Scenario,
        *,
        at: tuple[str, int] | None = None,
        when: str = "before",
        random_after: float | None = None,
        exit_at: int | None = None,
    ) -> End | None:
        self._server.requests.clear()
        order = self._order(scenario, at=at, when=when, random=random_after, exit_at=exit_at)
        found = self._give(order)
        unharmed = ("trace" in found and found["end"] == 0) or found.get("reached") is False
        if unharmed and exit_at is None and random_after is None:
            return None
        if exit_at is not None and found.get("reached") is not True:
            return None
        if random_after is not None and unharmed:
            return None
        acted = self._has_acted()
        before = self._server.reuse_detections
        self._server.requests.clear()
        later = self._give({**order, "do": "look", "random": None})
        trouble = ""
        if found["stuck"] or later["stuck"]:
            trouble = "stuck"
        elif later["end"] != 0:
            trouble = "a later process failed"
        elif exit_at is not None and found["end"] != 0:
            trouble = f"the process ended with {found['end']}"
        end = End(
            call=found.get("killed", ""),
            when=when if at is not None else "exit" if exit_at is not None else "random",
            stored=self._stored(later),
            acted=acted,
            answer=later.get("answer", ""),
            answer_after_login=later.get("answer_after_login", ""),
            trouble=trouble,
        )
        reused = self._server.reuse_detections - before
        if reused and not end.lost:
            end = dataclasses.replace(end, trouble="a used refresh token came back")
        return end

    def _stored(self, later: dict[str, Any]) -> Literal["old", "new", "none", "unreadable"]:
        if "unreadable" in later or "stored" not in later:
            return "unreadable"
        text = later["stored"]
        if text is None:
            return "none"
        if text == self._old:
            return "old"
        return "new" if Record.parse(text).access_token in self._server.secrets() else "unreadable"

    def _has_acted(self) -> bool:
        """Whether the server gave tokens, once it is done with all that the dead process had sent."""
        deadline = time.monotonic() + 10
        quiet = 0
        # It has one loop: what came before our requests is on its way when they are answered.
        while quiet < 3 and time.monotonic() < deadline:
            self._browser.get(f"{self._server.origin}/nothing")
            pending = [one for one in self._server.requests.matching("token") if one.status is None]
            quiet = 0 if pending else quiet + 1
        return any(one.status == 200 for one in self._server.requests.matching("token"))

    def _give(self, order: dict[str, Any]) -> dict[str, Any]:
        """Have `order` obeyed; what was reported, put together."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = {}
        while "end" not in found:
            line = self._process.stdout.readline()
            assert line, f"the program that dies has died: {self.errors}"
            said = json.loads(line)
            found |= said
            if "url" in said:
                self._visit(said["url"])
        return found

    def _visit(self, url: str) -> None:
        # The program may be dead by the time its browser comes back.
        with contextlib.suppress(httpx.HTTPError):
            self._browser.get(url)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.errors.append(line.rstrip())


def summary(ends: Iterable[End], scenario: Scenario) -> str:
    """Counts of what became of them, for people."""
    ends = list(ends)
    stored = Counter(end.stored for end in ends)
    lost = [end for end in ends if end.lost]
    problems = Counter(f"{end.when} {end.call}: {end.problem(scenario)}" for end in ends if end.problem(scenario))
    lines = [
        f"{len(ends)} processes; stored: " + ", ".join(f"{count} {name}" for name, count in sorted(stored.items())),
        f"unreadable {stored['unreadable']}, lost {len(lost)}, problems {sum(problems.values())}",
    ]
    lines += [f"  lost: {name}" for name in dict.fromkeys(f"{end.when} {end.call}" for end in lost)]
    lines += [f"  PROBLEM ({count}) {name}" for name, count in problems.items()]
    return "\n".join(lines)
