"""A test of unmodified agent code: what the library takes from its surroundings is the test's own while a block runs."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp_login.storage.memory import MemoryStorage
from mcp_login.surroundings import LoginAbandoned, Surroundings, replaced

from .clock import Clock
from .person import Person

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterator

    import httpx

    from mcp_login.storage.base import Storage

__all__ = ["Isolation", "isolated"]

#: How long work that a test has left behind may take to end, in seconds.
_END_LIMIT = 2.0


@dataclass(frozen=True, eq=False)
class Isolation:
    """What stands in for a program's surroundings inside `isolated`."""

    storage: Storage
    person: Person
    clock: Clock
    #: The data folder: the list of `accounts`, and the files of `FileStorage`.
    home: Path


@contextmanager
def isolated(
    *,
    person: Person | None = None,
    storage: Storage | None = None,
    clock: Clock | None = None,
    http_client: Callable[[], httpx.AsyncClient] | None = None,
) -> Iterator[Isolation]:
    """A `with` block in which unmodified code of yours logs in without your keychain, your browser and your data folder.

    `OAuth(url)`, `login(url)` and the others, made inside the block, keep logins in `storage`, ask `person`, and read `clock`.
    A person is there or not as `person` says; a terminal and the variable CI don't count. After the block all is as it was: a
    login that is still open has ended, and objects that were made inside can no longer be used.

    Arguments:
        person: Who stands in for the browser. None: one who approves.
        storage: The default storage. None: a new `MemoryStorage`.
        clock: The clock of the library. None: one that starts now, and stands still until it is moved.
        http_client: Makes the client for the library's own requests: `EmbeddedServer.http_client`, to use it in process.

    It holds for this process, all threads and event loops included, not for programs that it starts. An `OAuth` object that
    was made before the block is refused with `PolicyError` when it is used inside.
    """
    someone = Person() if person is None else person
    isolation_clock = Clock(time.time()) if clock is None else clock
    default = MemoryStorage() if storage is None else storage
    work = _Work()
    with contextlib.ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(prefix="mcp-login-", ignore_cleanup_errors=True)
        home = Path(stack.enter_context(folder)).resolve()
        stack.callback(someone.leave)
        stack.enter_context(
            replaced(
                Surroundings(
                    storage=default,
                    open_browser=lambda url: _visit(someone, url),
                    person_present=lambda: someone.is_present,
                    clock=isolation_clock,
                    home=home,
                    http_client=http_client,
                    started=work.add,
                )
            )
        )
        stack.callback(work.end)
        yield Isolation(default, someone, isolation_clock, home)


def _visit(person: Person, url: str) -> bool:
    if not person.is_present:
        return False
    reason = person.visit(url)
    if reason is not None:
        raise LoginAbandoned(reason)
    return True


class _Work:
    """What was begun on the library's loop, so that nothing of it outlives the test."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._futures: list[concurrent.futures.Future[Any]] = []

    def add(self, future: concurrent.futures.Future[Any]) -> None:
        """Remember `future`."""
        with self._guard:
            self._futures = [known for known in (*self._futures, future) if not known.done()]

    def end(self) -> None:
        """Cancel what is under way, and wait until it has cleaned up behind itself."""
        with self._guard:
            pending = [future for future in self._futures if not future.done()]
        if not pending:
            return
        from mcp_login.portal import portal

        for future in pending:
            future.cancel()
        # In that order on the loop: the cancellations come first.
        with contextlib.suppress(TimeoutError):
            portal().submit(_settled).result(_END_LIMIT)


async def _settled() -> None:
    # A listener's own tasks have names: its last page may be fetched a moment longer, and holds nobody up.
    others = {task for task in asyncio.all_tasks() if not task.get_name().startswith("mcp-login:")}
    others -= {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_END_LIMIT / 2)
