"""Kills a process that writes a login with SIGKILL: before each call to the keychain in turn, and in the midst of it.

    python -m tests.real.keychain_crashes KIND

Only where the Secret Service is a test's own. Besides the Secret Service "as it is", two kinds that are made of it: one that
replaces an item by "deleting and adding" (macOS), and one that also takes no more than 1,280 characters ("small", as
Windows). Writes how many of the processes that were killed left the old login, and how many the new one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from keyring.backends.SecretService import Keyring
from keyring.errors import PasswordSetError

from mcp_login.storage.keychain import KeychainStorage
from tests.real import keychain_items

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []

assert sys.platform != "win32"  # it forks

KEY = "https://mcp.example.com/mcp"
VALUES = {"small": ("old" * 20, "new" * 20), "large": ("old" * 600, "new" * 600)}


def nothing() -> None:
    """What is done before a call of a process that is not to be killed."""


class AsItIs(Keyring):
    """`before_call` is called before each step. What reads and saves an item is keyring's own."""

    before_call: Callable[[], None] = staticmethod(nothing)

    def get_preferred_collection(self) -> object:
        self.before_call()
        return super().get_preferred_collection()  # type: ignore[no-untyped-call]


class DeletingAndAdding(AsItIs):
    def set_password(self, service: str, username: str, password: str) -> None:
        if self.get_password(service, username) is not None:  # type: ignore[no-untyped-call]
            self.delete_password(service, username)  # type: ignore[no-untyped-call]
        super().set_password(service, username, password)  # type: ignore[no-untyped-call]


class Small(DeletingAndAdding):
    def set_password(self, service: str, username: str, password: str) -> None:
        if len(password) > 1280:
            raise PasswordSetError("too large")
        super().set_password(service, username, password)


#: The backend, the size of both logins, and of how many calls one is tried: each takes time.
KINDS: dict[str, tuple[type[AsItIs], str, int]] = {
    "as it is": (AsItIs, "small", 1),
    "deleting and adding": (DeletingAndAdding, "small", 1),
    "small": (Small, "large", 2),
}


def write_and_be_killed(backend: AsItIs, value: str, call: int, *, in_the_midst: bool) -> bool:
    """Save `value` in another process, which is killed at its call of that number; False if it has fewer calls."""
    reached, tell = os.pipe()
    wait, never = os.pipe()
    child = os.fork()
    if child == 0:
        calls = 0

        def before_call() -> None:
            nonlocal calls
            calls += 1
            if calls == call:
                os.write(tell, b"!")
                if not in_the_midst:
                    os.read(wait, 1)

        try:
            backend.before_call = before_call
            asyncio.run(KeychainStorage(backend=backend).save(KEY, value))
        finally:
            os._exit(0)
    os.close(tell)
    came_to_it = os.read(reached, 1) == b"!"
    if came_to_it:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for descriptor in (reached, wait, never):
        os.close(descriptor)
    return came_to_it


def main(kind: str) -> None:
    make, size, stride = KINDS[kind]
    backend = make()
    before, after = VALUES[size]
    counts = {"old": 0, "new": 0}
    call = 1
    came_to_it = True
    while came_to_it:
        storage = KeychainStorage(backend=backend)
        asyncio.run(storage.save(KEY, before))
        came_to_it = write_and_be_killed(backend, after, call, in_the_midst=call % 4 in (0, 1))
        if came_to_it:
            found = asyncio.run(storage.load(KEY))
            assert found in (before, after), "neither the old nor the new login"
            assert storage.load_now(KEY, 10) in (before, after), "neither the old nor the new login"
            counts[found[:3]] += 1
        asyncio.run(storage.save(KEY, "last"))
        assert list(keychain_items.passwords()) == [f"mcp-login:{KEY}"], "items are left over"
        call += stride
    sys.stdout.write(f"{counts['old']} {counts['new']}")


if __name__ == "__main__":
    main(sys.argv[1])
