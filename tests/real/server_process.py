"""A foreign server in a process of its own, which prints JSON lines and takes commands as JSON lines.

Lines that it prints: `{"listening": URL}` once it answers, `{"request": {...}}` before it answers a request, and
`{"reply": ID, ...}` to each command. So what was asked before a command was sent has been told when its reply arrives,
and nothing has to be waited for. A process ends when its standard input ends.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from tests.real import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Request", "ServerProcess", "server_process"]

#: Seconds a server may take to start on a busy machine, to answer a command, and to end.
START_LIMIT = 60.0
ANSWER_LIMIT = 20.0
END_LIMIT = 10.0


@dataclass(frozen=True)
class Request:
    """A request that a server answered. `endpoint` is the server's own name for it; no field holds a secret."""

    method: str
    endpoint: str
    status: int
    grant_type: str | None = None
    resource: str | None = None
    scope: str | None = None
    client_id: str | None = None
    error: str | None = None


class ServerProcess:
    """A running server. `url`: what it says that it listens at."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process = process
        self._errors = errors
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._replies: dict[int, dict[str, Any]] = {}
        self._urls: list[str] = []
        self._ended = False
        self._reader = threading.Thread(target=self._read, name="server process", daemon=True)
        self._reader.start()
        with self._changed:
            self._changed.wait_for(lambda: self._urls or self._ended, START_LIMIT)
            assert self._urls, f"the server did not start: {self._last_words()}"
            self.url = self._urls[0]

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Give a command; what the server replies."""
        number = next(self._ids)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "command": name, **arguments}) + "\n")
        self._process.stdin.flush()
        with self._changed:
            self._changed.wait_for(lambda: number in self._replies or self._ended, ANSWER_LIMIT)
            assert number in self._replies, f"no reply to {name}: {self._last_words()}"
            return self._replies.pop(number)

    def requests(self) -> list[Request]:
        """Every request that was answered since the start, or since `clear`, in order."""
        self.command("sync")
        with self._changed:
            return list(self._requests)

    def clear(self) -> None:
        """Forget the requests so far."""
        self.command("sync")
        with self._changed:
            self._requests.clear()

    def count(self, endpoint: str, **fields: Any) -> int:
        """How many requests reached `endpoint` whose other fields are these."""
        return sum(
            request.endpoint == endpoint and all(getattr(request, name) == value for name, value in fields.items())
            for request in self.requests()
        )

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._take(json.loads(line))
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        with self._changed:
            if "request" in message:
                self._requests.append(Request(**message["request"]))
            elif "reply" in message:
                self._replies[message.pop("reply")] = message
            else:
                self._urls.append(message["listening"])
            self._changed.notify_all()

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-2000:]

    def end(self) -> None:
        """End its input, and the process if it goes on all the same."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join(END_LIMIT)


@contextmanager
def server_process(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """The server that `command` starts, once it listens, until the end of the block."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            [str(word) for word in command],
            cwd=parts.ROOT,
            env=None if environment is None else dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        ) as process,
    ):
        try:
            server = ServerProcess(process, errors)
        except BaseException:
            process.kill()
            raise
        try:
            yield server
        finally:
            server.end()
