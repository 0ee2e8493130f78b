"""Backends for keyring that keep nothing on this machine: they stand in for the operating system's keychain."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FailingKeyring", "HangingKeyring", "MemoryKeyring"]


class MemoryKeyring(KeyringBackend):
    """Keeps passwords in memory. As most real ones do, it refuses to delete what it hasn't got."""

    priority = 0.1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.passwords: dict[tuple[str, str], str] = {}
        self.calls: list[str] = []

    def get_password(self, service: str, username: str) -> str | None:
        self.calls.append("get")
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.calls.append("set")
        self.passwords[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self.calls.append("delete")
        if self.passwords.pop((service, username), None) is None:
            raise PasswordDeleteError("No such password!")


class FailingKeyring(MemoryKeyring):
    """Raises what it is given, from every method."""

    def __init__(self, failure: Callable[[], BaseException]) -> None:
        super().__init__()
        self.failure = failure

    def get_password(self, service: str, username: str) -> str | None:
        raise self.failure()

    def set_password(self, service: str, username: str, password: str) -> None:
        raise self.failure()


class HangingKeyring(MemoryKeyring):
    """Answers no call until `answers` is set, like a prompt nobody sees."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.asked = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.calls.append("get")
        self.asked.set()
        self.answers.wait(20)
        return self.passwords.get((service, username))
