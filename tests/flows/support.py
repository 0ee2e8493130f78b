"""What the flows share: messages to an MCP server, and a look at what is stored."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import httpx

from mcp_login import MemoryStorage, OAuth
from mcp_login.storage.record import Record, client_key, dump_client, parse_client, record_key

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mcp_login import Storage
    from mcp_login.testing import EmbeddedServer, Person

__all__ = [
    "HEADERS",
    "Login",
    "age",
    "age_registration",
    "call",
    "causes",
    "edit",
    "in_threads",
    "login_of",
    "message",
    "run",
    "store",
    "stored",
]

T = TypeVar("T")

HEADERS = {"accept": "application/json, text/event-stream"}


def message(method: str = "tools/list", **params: Any) -> dict[str, Any]:
    """A JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    """A `tools/call` request."""
    return message("tools/call", name=tool, arguments=arguments)


class Login:
    """A program that talks to `server`: its storage, its person, and one `OAuth` in a synchronous httpx client."""

    def __init__(
        self, server: EmbeddedServer, person: Person, *, storage: Storage | None = None, **options: Any
    ) -> None:
        self.server = server
        self.person = person
        self.storage: Storage = MemoryStorage() if storage is None else storage
        self.options: dict[str, Any] = {
            "storage": self.storage,
            "on_authorization_url": person,
            "interactive": True,
            "callback_timeout": 15.0,
            **options,
        }
        self.auth = self.oauth()

    def oauth(self, **options: Any) -> OAuth:
        """Another `OAuth` with the same options."""
        return OAuth(self.server.url, **{**self.options, **options})

    def ask(self, body: dict[str, Any] | None = None, *, auth: OAuth | None = None, **kwargs: Any) -> httpx.Response:
        """Send one message, `tools/list` by default, with a client of its own."""
        # verify=False: everything is http on loopback, and loading the certificates takes longer than a login.
        url = kwargs.pop("url", self.server.url)
        follow = kwargs.pop("follow_redirects", False)
        with httpx.Client(
            auth=self.auth if auth is None else auth, trust_env=False, verify=False, timeout=20, follow_redirects=follow
        ) as client:
            return client.post(url, json=message() if body is None else body, headers=HEADERS, **kwargs)

    @property
    def windows(self) -> int:
        """How many authorization URLs were shown."""
        return len(self.person.urls)

    @property
    def record(self) -> Record | None:
        """What is stored."""
        return stored(self.storage, self.server.url)


def login_of(server: EmbeddedServer, person: Person, **options: Any) -> Login:
    """A program that is logged in."""
    login = Login(server, person, **options)
    assert login.ask().status_code == 200
    return login


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, from a loop of its own in a thread of its own."""
    results: list[T] = []
    failures: list[BaseException] = []

    def target() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(20)
    if failures:
        raise failures[0]
    return results[0]


class _Readable(Protocol):
    def load_now(self, key: str, timeout: float) -> str | None: ...


def stored(storage: Any, server_url: str, account: str | None = None) -> Record | None:
    """The record in `storage`."""
    readable: _Readable = storage
    text = readable.load_now(record_key(server_url, account), 5.0)
    return None if text is None else Record.parse(text)


def store(storage: Storage, record: Record) -> None:
    """Save `record`, as another process would."""
    run(storage.save(record.key, record.dump()))


def edit(storage: Storage, server_url: str, account: str | None = None, **changes: Any) -> Record:
    """Change fields of the stored record."""
    record = stored(storage, server_url, account)
    assert record is not None
    record = dataclasses.replace(record, **changes)
    store(storage, record)
    return record


def age(storage: Storage, server_url: str, seconds: float, account: str | None = None) -> Record:
    """Make the stored credentials older by `seconds`: they expire without a wait."""
    record = stored(storage, server_url, account)
    assert record is not None
    assert record.expires_at is not None
    return edit(
        storage,
        server_url,
        account,
        expires_at=record.expires_at - seconds,
        obtained_at=record.obtained_at - seconds,
    )


def in_threads(count: int, work: Callable[[int], T]) -> list[T]:
    """What `work(0)` to `work(count - 1)` give, all begun at the same moment in a thread each."""
    barrier = threading.Barrier(count)
    results: list[tuple[int, T]] = []
    failures: list[BaseException] = []

    def target(number: int) -> None:
        try:
            barrier.wait(10)
            results.append((number, work(number)))
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=target, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(25)
    if failures:
        raise failures[0]
    assert len(results) == count, "a thread is stuck"
    return [result for _, result in sorted(results, key=lambda pair: pair[0])]


def causes(error: BaseException) -> list[BaseException]:
    """`error` and everything it was raised from or while handling, groups opened."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in found:
            continue
        found.append(one)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += list(one.exceptions)
    return found


def age_registration(storage: Any, issuer: str, client_name: str = "mcp-login") -> None:
    """Make the client secret that was issued at `issuer` an expired one."""
    key = client_key(issuer, client_name)
    readable: _Readable = storage
    text = readable.load_now(key, 5.0)
    assert text is not None
    client = dataclasses.replace(parse_client(text), client_secret_expires_at=1.0)
    run(storage.save(key, dump_client(client)))
