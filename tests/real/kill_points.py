"""Runs a refresh or a login in a process that kills itself with SIGKILL at a chosen call to the machine.

    python -m tests.real.kill_points file|keychain FOLDER

Reads orders, one JSON object a line, and obeys each in a child that it forks: a process in which the library has done nothing
yet. `kills` gives the orders. What the child reports comes back as it happens, one JSON object a line; the last one has the
status of the child under "end". Holds tokens, so nobody else reads its output.

The calls are caught where Python leaves the interpreter: functions of `os`, `fcntl` and `socket` that change something, and
keyring's own three methods. Only where there is `fork`. Only where the Secret Service is a test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import gc
import io
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
from keyring.backends.SecretService import Keyring

import mcp_login.obtaining
import mcp_login.renewal
import mcp_login.sync
import mcp_login.testing  # the fork has it already: what is measured is the refresh, not the imports
from mcp_login import FileStorage, KeychainStorage, OAuth
from mcp_login.errors import AuthError, LoginRequired
from mcp_login.storage import keyring_backend
from tests.flows.stepping import Steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_login import Storage

__all__: list[str] = []

assert sys.platform != "win32"  # it forks

LOADED = (httpcore, mcp_login.obtaining, mcp_login.renewal, mcp_login.testing, keyring_backend)

#: How long a child may take, in seconds, on a machine that is busy.
LIMIT = 30.0

_write = os.write


class Machine:
    """Counts the calls to the machine, and kills this process at one of them: before, half done, or after it.

    `at`: the name of the call, and its number among those of that name. They come from several threads, in an order that
    is not always the same.
    """

    def __init__(self, report: Callable[..., None], port: int, at: tuple[str, int] | None, when: str) -> None:
        self._report = report
        self._port = port
        self._at = at
        self._when = when
        self._guard = threading.Lock()
        self._calls: Counter[str] = Counter()
        #: Names and moments (seconds since the epoch, at the return) of the calls.
        self.trace: list[tuple[str, float]] = []

    def call(self, name: str, function: Callable[..., Any], *args: Any, half: Callable[[], Any] | None = None) -> Any:
        """Call `function`, unless this is where the process ends."""
        with self._guard:
            self._calls[name] += 1
            number = self._calls[name]
        if (name, number) != self._at:
            try:
                return function(*args)
            finally:
                self.trace.append((name, time.time()))
        self._report(killed=name)
        if self._when == "half":
            if half is not None:
                half()
        elif self._when == "after":
            # The call may block for ever, as a second lock would: whoever waits for it is killed then.
            with contextlib.suppress(OSError):
                function(*args)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    def install(self) -> None:
        """Catch the calls from now on."""
        for name in ("fsync", "mkdir", "open", "replace", "rename", "rmdir", "unlink"):
            self._wrap_function(os, name)
        self._wrap_function(fcntl, "flock")
        os.fdopen = self._fdopen(os.fdopen)
        for name in ("connect", "recv", "recv_into", "recvmsg", "send", "sendall", "sendmsg"):
            self._wrap_socket(name)
        for name in ("delete_password", "get_password", "set_password"):
            self._wrap_keyring(name)

    def _wrap_function(self, module: Any, name: str) -> None:
        function = getattr(module, name)

        @functools.wraps(function)
        def caught(*args: Any, **keywords: Any) -> Any:
            # What is replaced says more than the temporary name of what replaces it.
            subject = args[1] if name in ("rename", "replace") else args[0]
            return self.call(f"{name} {kind_of(subject)}", functools.partial(function, **keywords), *args)

        setattr(module, name, caught)

    def _fdopen(self, original: Callable[..., Any]) -> Callable[..., Any]:
        machine = self

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                half = bytes(data)[: len(data) // 2]
                name = f"write {kind_of(self.fileno())}"
                count: int = machine.call(name, super().write, data, half=lambda: os.write(self.fileno(), half))
                return count

        def caught(descriptor: int, mode: str = "r", *args: Any, **keywords: Any) -> Any:
            if mode != "wb":
                return original(descriptor, mode, *args, **keywords)
            return io.BufferedWriter(File(descriptor, "wb"))

        return caught

    def _wrap_socket(self, name: str) -> None:
        original = getattr(socket.socket, name)

        def caught(sock: socket.socket, *args: Any) -> Any:
            peer = self._peer(sock, args[0] if name == "connect" else None)
            if peer is None:
                return original(sock, *args)
            half: Callable[[], Any] | None = None
            if name in ("send", "sendall", "sendmsg"):
                whole = b"".join(args[0]) if name == "sendmsg" else bytes(args[0])
                half = functools.partial(_write, sock.fileno(), whole[: len(whole) // 2])
            return self.call(f"{name} {peer}", functools.partial(original, sock), *args, half=half)

        setattr(socket.socket, name, caught)

    def _peer(self, sock: socket.socket, address: Any) -> str | None:
        """Who is at the other end; None: this very process (a loop's own pair)."""
        if address is None:
            try:
                address = sock.getpeername()
            except OSError:
                return "nobody"
        if sock.family == socket.AF_UNIX:
            return "keychain" if address else None
        return "server" if address[1] == self._port else "browser"

    def _wrap_keyring(self, name: str) -> None:
        original = getattr(Keyring, name)

        # With its name and module: the library knows by them how this backend keeps items.
        @functools.wraps(original)
        def caught(*args: Any) -> Any:
            return self.call(f"{name} keychain", original, *args)

        setattr(Keyring, name, caught)


def kind_of(path: Any) -> str:
    """What sort of file a path or descriptor is: names without what differs from run to run."""
    if isinstance(path, int):
        with contextlib.suppress(OSError):
            path = Path(f"/proc/self/fd/{path}").readlink()
    path = Path(os.fspath(path)) if not isinstance(path, int) else Path("file")
    return path.suffix.removeprefix(".") or "folder"


class Victim:
    """What a child does. `report` tells the parent."""

    def __init__(self, kind: str, folder: Path, report: Callable[..., None]) -> None:
        self._kind = kind
        self._folder = folder
        self._report = report

    def storage(self) -> Storage:
        """A new storage object: nothing is remembered from before."""
        return FileStorage(self._folder / "credentials") if self._kind == "file" else KeychainStorage()

    def obey(self, order: dict[str, Any]) -> None:
        """Do what is asked for."""
        {"run": self.run, "look": self.look}[order["do"]](order)

    def run(self, order: dict[str, Any]) -> None:
        """Refresh or log in, and be killed on the way."""
        if order["clear"]:
            self._clear()
        if order["text"] is not None:
            asyncio.run(self.storage().save(order["key"], order["text"]))
        machine = Machine(self._report, order["port"], order["at"] and tuple(order["at"]), order["when"])
        if order["exit_at"] is not None:
            self._leave(order)
            return
        machine.install()
        began = time.time()
        self._report(began=True)
        self._act(order)
        self._report(trace=machine.trace, began_at=began)

    def _leave(self, order: dict[str, Any]) -> None:
        reached, leaving = threading.Event(), threading.Event()

        def stop() -> None:
            reached.set()
            leaving.wait(LIMIT)

        def act() -> None:
            with contextlib.suppress(AuthError):  # "The work was interrupted": as it should be
                self._act(order)

        Steps(order["exit_at"], stop).__enter__()
        work = threading.Thread(target=act, daemon=True)
        work.start()
        while work.is_alive() and not reached.wait(0.02):
            pass
        self._report(reached=reached.is_set())
        # The main thread is on its way out from here on; what comes after is the library's at exit.
        leaving.set()

    def _act(self, order: dict[str, Any]) -> None:
        storage = self.storage()
        if order["scenario"] == "refresh":
            mcp_login.sync.access_token(order["url"], storage=storage)
        else:
            mcp_login.sync.login(order["url"], force=True, **self._interactive(storage))

    def _interactive(self, storage: Storage) -> dict[str, Any]:
        def show(url: str) -> bool:
            self._report(url=str(url))
            return True

        return {"storage": storage, "interactive": True, "on_authorization_url": show, "callback_timeout": LIMIT}

    def look(self, order: dict[str, Any]) -> None:
        """A later process: what it reads, and what comes of its first request; then of a login, if one is needed."""
        try:
            self._report(stored=asyncio.run(self.storage().load(order["key"])))
            self.storage_now(order["key"])
        except AuthError as error:
            self._report(unreadable=f"{type(error).__name__}: {error}")
        answer = self._ask(order["url"])
        self._report(answer=answer)
        if answer == "LoginRequired" and order["may_log_in"]:
            mcp_login.sync.login(order["url"], **self._interactive(self.storage()))
            self._report(answer_after_login=self._ask(order["url"]))

    def storage_now(self, key: str) -> None:
        """The warm path's way to read."""
        storage = self.storage()
        assert isinstance(storage, (FileStorage, KeychainStorage))
        storage.load_now(key, LIMIT)

    def _ask(self, url: str) -> str:
        """What a request without a person comes to: a status, or the name of an error."""
        try:
            auth = OAuth(url, storage=self.storage(), interactive=False)
            with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=LIMIT) as client:
                body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
                return str(client.post(url, json=body).status_code)
        except LoginRequired:
            return "LoginRequired"
        except AuthError as error:
            return f"{type(error).__name__}: {error}"

    def _clear(self) -> None:
        for path in (self._folder, Path(os.environ["MCP_LOGIN_HOME"])):
            shutil.rmtree(path, ignore_errors=True)
        if self._kind == "keychain":
            from tests.real import keychain_items

            keychain_items.remove_all()


def obey(kind: str, folder: Path, order: dict[str, Any]) -> bool:
    """Obey `order` in a child. True in the child itself, whose interpreter then has to end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)

        def report(**said: Any) -> None:
            _write(writing, json.dumps(said).encode() + b"\n")

        Victim(kind, folder, report).obey(order)
        if order["do"] == "look" or order["exit_at"] is None:
            os._exit(0)  # all has been said, and the end of an interpreter takes longer than the rest
        return True
    os.close(writing)
    watch(child, reading, order.get("random"))
    return False


def watch(child: int, reading: int, random: float | None) -> None:
    """Pass on what `child` reports, and kill it `random` seconds after it began, or when it is stuck."""
    rest, stuck = b"", False
    limit = LIMIT
    deadline = time.monotonic() + limit
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            stuck = limit == LIMIT
            os.kill(child, signal.SIGKILL)
            limit, deadline = LIMIT + 1, time.monotonic() + LIMIT
            continue
        data = os.read(reading, 65536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if random is not None and line.startswith(b'{"began":'):
                limit = random
                deadline = time.monotonic() + limit
            say(line.decode())
    os.close(reading)
    _, status = os.waitpid(child, 0)
    say(json.dumps({"end": os.waitstatus_to_exitcode(status), "stuck": stuck}))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(kind: str, folder: str) -> None:
    gc.freeze()  # else a collection in a child copies all that the parent has
    # Not `for line in sys.stdin`: a child must not inherit a buffer with its parent's orders.
    while line := sys.stdin.readline():
        if obey(kind, Path(folder), json.loads(line)):
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
