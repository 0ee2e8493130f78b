"""A process full of callers of one login: `python -m tests.real.callers` reads commands as JSON lines, one reply to each.

    {"do": "place", "kind": KIND, "folder": FOLDER, "clock": FILE}   where the login is: memory, file or keychain
    {"do": "save", "text": TEXT}, {"do": "load"}                     the record of URL, past `OAuth`
    {"do": "gather", "url": URL, "threads": N, "tasks": N, "loops": N, "trio": N}
                                                   callers who are ready to send one request each
    {"do": "hold"}, {"do": "let_go"}               the record's lock, so that nobody refreshes meanwhile
    {"do": "go"}                                   they all begin; the reply comes when the last one has
    {"do": "finish"}                               what they got
    {"do": "ask"}                                  one request by a program that goes on all the time
    {"do": "end"}

Every second caller uses an `OAuth` that all share, and the others have one each. The clock of the library is the machine's,
moved by what `FILE` says, so that time passes in all processes at once (`SharedClock`).
"""

from __future__ import annotations

import asyncio
import json
import mmap
import struct
import sys
import threading
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import trio

from mcp_login import AuthError, FileStorage, KeychainStorage, MemoryStorage, OAuth
from mcp_login.storage.record import Record, record_key
from mcp_login.surroundings import Surroundings, replaced

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_login import Storage

__all__ = ["HEADERS", "MESSAGE", "SharedClock"]

HEADERS = {"accept": "application/json, text/event-stream"}
MESSAGE = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}

#: Seconds for one request; a thousand at once take a while.
REQUEST_LIMIT = 90.0

#: Tasks that share a client, and its connections: httpcore's pool takes a time that grows with the square of its queue.
TASKS_OF_A_CLIENT = 50
LIMITS = httpx.Limits(max_connections=2, max_keepalive_connections=2)


class SharedClock:
    """Seconds since the epoch, by the machine's clock and a number in `path` that is added to it."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    @classmethod
    def new(cls, path: Path) -> SharedClock:
        """One that begins with the machine's time."""
        path.write_bytes(struct.pack("d", 0.0))
        return cls(path)

    def __call__(self) -> float:
        """The time."""
        found: tuple[float] = struct.unpack("d", self._map[:8])
        return time.time() + found[0]

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass for everybody who looks at this clock."""
        (passed,) = struct.unpack("d", self._map[:8])
        self._map[:8] = struct.pack("d", passed + seconds)


class Callers:
    """What this process has: a place for the login, and callers."""

    def __init__(self) -> None:
        self._storage: Storage = MemoryStorage()
        self._url = ""
        self._clock: Callable[[], float] = time.time
        self._gathered: _Gathered | None = None
        self._client: httpx.Client | None = None
        self._surroundings = ExitStack()
        self._holder: threading.Thread | None = None
        self._over = threading.Event()

    def place(self, kind: str, folder: str, url: str, clock: str | None = None) -> dict[str, Any]:
        """The login is in a `kind` of storage."""
        self.leave()
        self._url = url
        self._storage = _storage(kind, Path(folder))
        self._surroundings.close()
        self._clock = time.time
        if clock is not None:
            self._clock = SharedClock(Path(clock))
            self._surroundings.enter_context(replaced(_surroundings(self._storage, self._clock, Path(folder))))
        return {}

    def leave(self) -> None:
        """The program that goes on ends."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def save(self, text: str) -> dict[str, Any]:
        """Put a record there."""
        asyncio.run(self._storage.save(record_key(self._url, None), text))
        return {}

    def load(self) -> dict[str, Any]:
        """The record that is there."""
        return {"text": asyncio.run(self._storage.load(record_key(self._url, None)))}

    def gather(self, threads: int = 0, tasks: int = 0, loops: int = 1, trio: int = 0) -> dict[str, Any]:
        """Have callers ready: `threads` in a thread each, `tasks` on asyncio in `loops` loops, `trio` more on trio."""
        self._gathered = _Gathered(self._url, self._storage, self._clock)
        self._gathered.get_ready(threads, tasks, loops, trio)
        return {}

    def hold(self) -> dict[str, Any]:
        """Take the record's lock."""
        held = threading.Event()

        async def hold() -> None:
            async with self._storage.lock(record_key(self._url, None)):
                held.set()
                await asyncio.to_thread(self._over.wait)

        self._over.clear()
        self._holder = threading.Thread(target=lambda: asyncio.run(hold()))
        self._holder.start()
        assert held.wait(REQUEST_LIMIT)
        return {}

    def let_go(self) -> dict[str, Any]:
        """Let go of the record's lock."""
        assert self._holder is not None
        self._over.set()
        self._holder.join(REQUEST_LIMIT)
        return {}

    def go(self) -> dict[str, Any]:
        """All callers begin."""
        assert self._gathered is not None
        self._gathered.go()
        return {}

    def finish(self) -> dict[str, Any]:
        """What all callers got."""
        assert self._gathered is not None
        began, got = self._gathered.finish()
        text = asyncio.run(self._storage.load(record_key(self._url, None)))
        refreshed = 0.0 if text is None else Record.parse(text).obtained_at
        return {
            "got": got,
            # Who began before the refresh was sent had to wait for it.
            "waited": sum(moment < refreshed for moment in began),
        }

    def ask(self) -> dict[str, Any]:
        """One request by the program that goes on."""
        if self._client is None:
            auth = OAuth(self._url, storage=self._storage, interactive=False)
            self._client = httpx.Client(auth=auth, trust_env=False, verify=False, timeout=REQUEST_LIMIT)
        return {"got": _ask(self._client, self._url)}


class _Gathered:
    def __init__(self, url: str, storage: Storage, clock: Callable[[], float]) -> None:
        self._url = url
        self._storage = storage
        self._clock = clock
        self._shared = OAuth(url, storage=storage, interactive=False)
        self._numbers = 0
        self._threads: list[threading.Thread] = []
        self._began: list[float] = []
        self._got: Counter[str] = Counter()
        self._go = threading.Event()
        self._ready = threading.Semaphore(0)
        self._begun = threading.Semaphore(0)
        self._callers = 0
        self._guard = threading.Lock()

    def get_ready(self, threads: int, tasks: int, loops: int, on_trio: int) -> None:
        self._callers = threads + tasks + on_trio
        targets: list[Callable[[], object]] = [self._in_thread] * threads
        if tasks:
            shares = [tasks // loops + (number < tasks % loops) for number in range(loops)]
            targets += [lambda share=share: asyncio.run(self._on_asyncio(share)) for share in shares]  # type: ignore[misc]
        if on_trio:
            targets.append(lambda: trio.run(self._on_trio, on_trio))
        self._threads = [threading.Thread(target=target) for target in targets]
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            assert self._ready.acquire(timeout=REQUEST_LIMIT)

    def go(self) -> None:
        self._go.set()
        for _ in range(self._callers):
            assert self._begun.acquire(timeout=REQUEST_LIMIT)

    def finish(self) -> tuple[list[float], dict[str, int]]:
        for thread in self._threads:
            thread.join(REQUEST_LIMIT)
        assert not any(thread.is_alive() for thread in self._threads), "a caller is stuck"
        return self._began, dict(self._got)

    def _auth(self) -> OAuth:
        with self._guard:
            self._numbers += 1
            number = self._numbers
        return self._shared if number % 2 else OAuth(self._url, storage=self._storage, interactive=False)

    def _begin(self) -> None:
        with self._guard:
            self._began.append(self._clock())
        self._begun.release()

    def _note(self, got: str) -> None:
        with self._guard:
            self._got[got] += 1

    def _in_thread(self) -> None:
        with httpx.Client(auth=self._auth(), trust_env=False, verify=False, timeout=REQUEST_LIMIT) as client:
            self._ready.release()
            self._go.wait()
            self._begin()
            self._note(_ask(client, self._url))

    async def _on_asyncio(self, count: int) -> None:
        start = asyncio.Event()
        async with AsyncExitStack() as stack:
            clients = await _clients(stack, count)
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(self._task(client, self._auth(), start))
                self._ready.release()
                await asyncio.to_thread(self._go.wait)
                start.set()

    async def _on_trio(self, count: int) -> None:
        start = trio.Event()
        async with AsyncExitStack() as stack:
            clients = await _clients(stack, count)
            async with trio.open_nursery() as nursery:
                for client in clients:
                    nursery.start_soon(self._task, client, self._auth(), start)
                self._ready.release()
                await trio.to_thread.run_sync(self._go.wait)
                start.set()

    async def _task(self, client: httpx.AsyncClient, auth: OAuth, start: asyncio.Event | trio.Event) -> None:
        await start.wait()
        self._begin()
        try:
            answer = await client.post(self._url, json=MESSAGE, headers=HEADERS, auth=auth)
            self._note(str(answer.status_code))
        except (AuthError, httpx.HTTPError) as error:
            self._note(type(error).__name__)


async def _clients(stack: AsyncExitStack, count: int) -> list[httpx.AsyncClient]:
    """A client for each of `count` tasks."""
    different = [
        await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, verify=False, timeout=REQUEST_LIMIT, limits=LIMITS)
        )
        for _ in range(-(-count // TASKS_OF_A_CLIENT))
    ]
    return [different[number // TASKS_OF_A_CLIENT] for number in range(count)]


def _ask(client: httpx.Client, url: str) -> str:
    try:
        return str(client.post(url, json=MESSAGE, headers=HEADERS).status_code)
    except (AuthError, httpx.HTTPError) as error:
        return type(error).__name__


def _storage(kind: str, folder: Path) -> Storage:
    if kind == "memory":
        return MemoryStorage()
    return FileStorage(folder / "logins") if kind == "file" else KeychainStorage()


def _surroundings(storage: Storage, clock: Callable[[], float], folder: Path) -> Surroundings:
    def nobody(url: str) -> bool:
        raise AssertionError("a browser was asked for")

    return Surroundings(
        storage=storage,
        open_browser=nobody,
        person_present=lambda: False,
        clock=clock,
        home=folder,
        started=lambda _: None,
    )


def _main() -> None:
    callers = Callers()
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        if do == "end":
            break
        sys.stdout.write(json.dumps(getattr(callers, do)(**command)) + "\n")
        sys.stdout.flush()
    callers.leave()


if __name__ == "__main__":
    _main()
