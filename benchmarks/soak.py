"""Hours of refreshing in minutes: access tokens live for a second, and everything that could grow is watched.

    python -m benchmarks.soak [--minutes 5] [--storage file|keychain|memory]

From the folder that holds `benchmarks` and `tests`, on Linux (it reads /proc). One process is watched: programs that go on all
the time (asyncio in two loops, trio, threads) and short ones that begin and end (a new `OAuth` and a new client each, an event
loop of its own, `access_token`, requests that are cancelled or whose client is closed under way), for three accounts. Another
process shares their logins, where the storage can be shared, and the server is a third.

Prints resident memory (KiB), file descriptors, threads, and files of the library, twice a minute. Compared are the medians of
the fifth of the time that follows the warm-up (a fifth, too) and of the last one. Exits with 1 where one of them has grown by
more than `LIMITS`, a refresh token came back, or a caller got anything but an answer. Docs: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
import httpx
import trio

from mcp_login import AuthError, FileStorage, KeychainStorage, MemoryStorage, OAuth, access_token
from mcp_login.storage.record import Record, record_key
from mcp_login.testing import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mcp_login import Storage

ACCOUNTS = ("first", "second", "third")
MESSAGE = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"accept": "application/json, text/event-stream"}

#: Between two requests of one program, in seconds.
PACE = 0.04


class Sample(NamedTuple):
    """What there is at one moment."""

    memory: float
    descriptors: float
    threads: float
    files: float


#: By how much the medians may differ. Allocators give memory back late, and the clients' connections and the threads of calls
#: come and go. What leaks with each refresh, request or short life would have grown by hundreds, in five minutes.
LIMITS = Sample(memory=2048, descriptors=6, threads=2, files=0)


class Soak:
    """The watched process."""

    def __init__(self, url: str, storage: Storage, folder: Path) -> None:
        self.url = url
        self.storage = storage
        self.folder = folder
        self.over = threading.Event()
        self.seen: Counter[str] = Counter()
        self._guard = threading.Lock()
        self._auths = [self.auth(account) for account in ACCOUNTS]
        targets: list[Callable[[], object]] = [
            lambda: asyncio.run(self._go_on()),
            lambda: asyncio.run(self._go_on()),
            lambda: trio.run(self._go_on),
            *(lambda auth=auth: self._synchronous(auth) for auth in self._auths),
            self._short_lives,
        ]
        self._threads = [threading.Thread(target=target) for target in targets]

    def auth(self, account: str) -> OAuth:
        """A new one."""
        return OAuth(self.url, storage=self.storage, account=account, interactive=False)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(30)

    def note(self, what: str) -> None:
        with self._guard:
            self.seen[what] += 1

    def sample(self) -> Sample:
        """What there is now."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Sample(
            pages * os.sysconf("SC_PAGE_SIZE") / 1024,
            len(list(Path("/proc/self/fd").iterdir())),
            threading.active_count(),
            sum(path.is_file() for path in self.folder.rglob("*")),
        )

    async def _go_on(self) -> None:
        """A program that goes on: one client, and requests of all accounts at once."""
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=20) as client:
            while not self.over.is_set():
                async with anyio.create_task_group() as group:
                    for auth in self._auths:
                        group.start_soon(self._ask, client, auth)
                await anyio.sleep(PACE)

    async def _ask(self, client: httpx.AsyncClient, auth: OAuth) -> None:
        try:
            answer = await client.post(self.url, json=MESSAGE, headers=HEADERS, auth=auth)
            self.note(str(answer.status_code))
        except (AuthError, httpx.HTTPError) as error:
            self.note(type(error).__name__)

    def _synchronous(self, auth: OAuth) -> None:
        with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=20) as client:
            while not self.over.wait(PACE):
                try:
                    self.note(str(client.post(self.url, json=MESSAGE, headers=HEADERS).status_code))
                except (AuthError, httpx.HTTPError) as error:
                    self.note(type(error).__name__)

    def _short_lives(self) -> None:
        dice = random.Random(1)
        while not self.over.wait(PACE):
            account = dice.choice(ACCOUNTS)
            asyncio.run(self._short_life(account, dice.uniform(0.0, 0.03)))

    async def _short_life(self, account: str, patience: float) -> None:
        """A program that begins and ends: it asks, gives up, closes its client under a request, and asks for a token."""
        async with httpx.AsyncClient(auth=self.auth(account), trust_env=False, verify=False, timeout=20) as client:
            await self._ask(client, self.auth(account))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await client.post(self.url, json=MESSAGE, headers=HEADERS)
            request = asyncio.ensure_future(client.post(self.url, json=MESSAGE, headers=HEADERS))
            await asyncio.sleep(patience)
            await client.aclose()
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        try:
            await access_token(self.url, storage=self.storage, account=account, min_valid_for=0.1)
            self.note("200")
        except AuthError as error:
            self.note(type(error).__name__)


# --- the other processes


def serve() -> None:
    """The server: says where it is, with three logins; at the end, what came to it."""
    with EmbeddedServer(access_token_lifetime=1.0).run() as server:
        texts = []
        for account in ACCOUNTS:
            storage = MemoryStorage()
            server.sign_in(storage, account=account)
            texts.append(storage.load_now(record_key(server.url, account), 0))
        say({"url": server.url, "texts": texts})
        requests = refused = 0
        over = threading.Event()

        def until_the_end() -> None:
            sys.stdin.read()
            over.set()

        threading.Thread(target=until_the_end, daemon=True).start()
        while not over.wait(1.0):
            found = server.requests.matching("token")
            requests += len(found)
            refused += sum(request.status not in (200, None) for request in found)
            server.requests.clear()
        say({"requests": requests, "refused": refused, "reuse": server.reuse_detections})


def share(url: str, kind: str, folder: Path) -> None:
    """A process that uses the same logins."""
    soak = Soak(url, storage_of(kind, folder), folder)
    soak.start()
    sys.stdin.read()
    soak.stop()
    say(dict(soak.seen))


def say(line: object) -> None:
    print(json.dumps(line), flush=True)


def storage_of(kind: str, folder: Path) -> Storage:
    if kind == "memory":
        return MemoryStorage()
    return FileStorage(folder / "logins") if kind == "file" else KeychainStorage()


@contextlib.contextmanager
def other(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process of this program."""
    command = [sys.executable, "-m", "benchmarks.soak", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def last_line(process: subprocess.Popen[str]) -> dict[str, int]:
    """What a process says when its input ends."""
    out, _ = process.communicate(timeout=60)
    found: dict[str, int] = json.loads(out.splitlines()[-1])
    return found


# --- the verdict


def watch(soak: Soak, minutes: float) -> list[Sample]:
    """A sample each second."""
    samples: list[Sample] = []
    began = time.monotonic()
    print("| seconds | memory (KiB) | descriptors | threads | files | requests |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    while time.monotonic() - began < minutes * 60:
        time.sleep(1.0)
        samples.append(soak.sample())
        if len(samples) % 30 == 0:
            memory, descriptors, threads, files = (statistics.median(row) for row in zip(*samples[-30:], strict=True))
            seconds = time.monotonic() - began
            requests = sum(soak.seen.values())
            print(
                f"| {seconds:.0f} | {memory:.0f} | {descriptors:g} | {threads:g} | {files:g} | {requests} |", flush=True
            )
    return samples


def grown(samples: list[Sample]) -> list[str]:
    """What has grown from the fifth after the warm-up to the last one; told as a table, too."""
    fifth = max(1, len(samples) // 5)
    first = [statistics.median(row) for row in zip(*samples[fifth : 2 * fifth], strict=True)]
    last = [statistics.median(row) for row in zip(*samples[-fifth:], strict=True)]
    print("\n| | after the warm-up | at the end | may grow by |\n| --- | ---: | ---: | ---: |")
    bad = []
    for name, before, after, limit in zip(Sample._fields, first, last, LIMITS, strict=True):
        print(f"| {name} | {before:g} | {after:g} | {limit:g} |")
        if after - before > limit:
            bad.append(f"{name} grew from {before:g} to {after:g}")
    return bad


def soak_for(minutes: float, kind: str) -> list[str]:
    """Run it; what is wrong."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-login-")))
        os.environ["MCP_LOGIN_HOME"] = str(folder)
        if kind == "keychain":
            from tests.real.conftest import session_bus

            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-login-")))
            os.environ.update(stack.enter_context(session_bus(home)))
            folder = Path(os.environ["MCP_LOGIN_HOME"])
        server = stack.enter_context(other("--serve"))
        assert server.stdout is not None
        started = json.loads(server.stdout.readline())
        storage = storage_of(kind, folder)
        for account, text in zip(ACCOUNTS, started["texts"], strict=True):
            asyncio.run(storage.save(Record.parse(text).key, text))
            assert Record.parse(text).account == account
        soak = Soak(started["url"], storage, folder)
        # What is in one process's memory can't be shared: two would use one refresh token.
        sharing = None if kind == "memory" else stack.enter_context(other("--share", started["url"], kind, str(folder)))
        soak.start()
        try:
            samples = watch(soak, minutes)
        finally:
            soak.stop()
        shared = Counter() if sharing is None else Counter(last_line(sharing))
        told = last_line(server)
    bad = grown(samples)
    print(f"\nrequests here: {dict(soak.seen)}, in the process that shares the logins: {dict(shared)}")
    print(f"token requests: {told['requests']}, refused: {told['refused']}, reuse detections: {told['reuse']}")
    lost = Counter(soak.seen) + shared
    del lost["200"]
    bad += [f"{count} callers got {what}" for what, count in lost.items()]
    bad += [f"{told['reuse']} refresh tokens came back"] if told["reuse"] else []
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--storage", choices=["file", "keychain", "memory"], default="file")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--share", nargs=3, metavar=("URL", "KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    if options.share:
        url, kind, folder = options.share
        share(url, kind, Path(folder))
        return 0
    bad = soak_for(options.minutes, options.storage)
    print("\n".join(bad) or "flat: nothing has grown, nothing was lost")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
