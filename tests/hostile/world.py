"""A small internet inside this machine: names, addresses, certificates, honest and hostile servers, and what they saw."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import ssl
import tempfile
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import httpx
import httpx2
import pytest

import mcp_login.sync
from mcp_login import AuthError, MemoryStorage, OAuth
from mcp_login.testing import Person
from tests.flows.strangers import Answer, Stranger, open_stranger
from tests.flows.support import HEADERS, causes, message
from tests.hostile.parties import AuthorizationServer, Host, Resource
from tests.unit.network.peers import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    import trustme

__all__ = ["Outcome", "World", "apart"]

#: The longest message that a person is shown, in characters.
LONGEST_MESSAGE = 1500


@dataclass
class Outcome:
    """How something ended: `value`, or `error`, and what was logged meanwhile by anybody, at every level."""

    value: Any = None
    error: BaseException | None = None
    log: str = field(default="", repr=False)

    def text(self) -> str:
        """All that a person could read of it: messages and reprs along the whole chain, and the log."""
        chain = [] if self.error is None else causes(self.error)
        return "\n".join([*(f"{one}\n{one!r}" for one in chain), self.log])

    def shows(self, *secret: str) -> list[str]:
        """The kinds of `secret` that a person could read."""
        text = self.text()
        return [one.partition("-")[0] for one in secret if one in text or one in unquote_plus(text)]


class World:
    """Hosts, a person at a browser, and attempts. Use it in a `with` block."""

    def __init__(self, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, *, defended: bool) -> None:
        self.defended = defended
        self.monkeypatch = monkeypatch
        self.names = Names(monkeypatch)
        self.person = Person.approves()
        self._authority = authority
        self._stack = contextlib.ExitStack()
        self._public = (f"93.184.216.{number}" for number in itertools.count(10))

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.person.leave()
        self.person.join()
        self._stack.close()

    def host(
        self,
        name: str,
        *addresses: str,
        port: int = 443,
        tls: bool | ssl.SSLContext = True,
        real: str = "127.0.0.1",
        opened: Callable[..., contextlib.AbstractContextManager[Stranger]] = open_stranger,
    ) -> Host:
        """A server called `name` (a DNS name, or a literal address) at `addresses`, by default a public one of its own.

        All of them lead to a socket on `real`, so that what connects to any is seen. `tls` may be a context of the test's own,
        `opened` opens another server than a `Stranger` (`tests.hostile.raw`).
        """
        context = tls if isinstance(tls, ssl.SSLContext) else self.tls(name) if tls else None
        stranger = self._stack.enter_context(opened(tls=context, host=real))
        literal = name.strip("[]") if name[:1] in "[0123456789" else None
        addresses = addresses or (literal or next(self._public),)
        if literal is None:
            self.names.addresses[name] = list(addresses)
        for address in addresses:
            self.names.routes[address, port] = stranger.port
        default = 443 if tls else 80
        shown = name if port == default else f"{name}:{port}"
        return Host(f"{'https' if tls else 'http'}://{shown}", stranger)

    def tls(self, name: str, **more: Any) -> ssl.SSLContext:
        """A server's context with a good certificate for `name`, but for `more`: settings of `trustme.CA.issue_cert`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name.strip("[]"), **more).configure_cert(context)
        return context

    def service(self) -> Host:
        """A service of the person's own on this machine, reachable at 127.0.0.1, without TLS."""
        stranger = self._stack.enter_context(open_stranger())
        stranger.answer = lambda _: Answer(200, {"internal": "yes"})
        return Host(stranger.origin, stranger)

    def server(
        self, name: str = "mcp.example.com", *addresses: str, path: str = "/mcp", **more: Any
    ) -> tuple[Resource, AuthorizationServer]:
        """An MCP server called `name` with an authorization server of its own at the same origin."""
        host = self.host(name, *addresses, **more)
        issuer = AuthorizationServer(host)
        return Resource(host, issuer, path=path), issuer

    def two_servers(self) -> tuple[Resource, AuthorizationServer, AuthorizationServer]:
        """An MCP server of an attacker with their own authorization server, and an honest authorization server."""
        resource, evil = self.server("evil.example.net")
        honest = AuthorizationServer(self.host("login.example.com"))
        honest.host.answer = lambda asked: honest(asked) or Answer(404)
        return resource, evil, honest

    def options(self, **more: Any) -> dict[str, Any]:
        """Keywords for `OAuth`, `login` and the others: nothing of this machine's person, and short limits."""
        return {
            "storage": MemoryStorage(),
            "on_authorization_url": self.person,
            "interactive": True,
            "callback_timeout": 10.0,
            **more,
        }

    def attempt(self, work: Callable[[], Any]) -> Outcome:
        """Do `work`. What it raises is one of this library's errors or an HTTP library's, and fit to be shown to a person."""
        outcome = Outcome()
        with _everything_logged() as log:
            try:
                outcome.value = work()
            except AssertionError:
                raise  # the test's own
            except Exception as error:  # noqa: BLE001 - judged below
                outcome.error = error
        outcome.log = log.getvalue()
        if self.defended:
            _require_decent(outcome.error)
        return outcome

    def log_in(self, url: str, **options: Any) -> Outcome:
        """What `login` does, as a program calls it."""
        return self.attempt(lambda: mcp_login.sync.login(url, **self.options(**options)))

    def ask(self, url: str, *, library: Any = httpx, follow_redirects: bool = False, **options: Any) -> Outcome:
        """One request of an MCP client that knows nothing of logins, with `OAuth` in its `auth=`."""
        auth = options.pop("auth", None) or OAuth(url, **self.options(**options))

        def send() -> Any:
            context = ssl.create_default_context()
            client = library.Client(
                auth=auth, trust_env=False, verify=context, timeout=10, follow_redirects=follow_redirects
            )
            with client:
                return client.post(url, json=message(), headers=HEADERS)

        return self.attempt(send)


@contextlib.contextmanager
def apart(authority: trustme.CA) -> Iterator[World]:
    """A world for no test in particular, with all defences."""
    with pytest.MonkeyPatch.context() as monkeypatch, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "authority.pem"
        authority.cert_pem.write_to_path(str(file))
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        monkeypatch.setenv("MCP_LOGIN_HOME", folder)
        with World(authority, monkeypatch, defended=True) as world:
            yield world


@contextlib.contextmanager
def _everything_logged() -> Any:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _require_decent(error: BaseException | None) -> None:
    for one in _leaves(error):
        assert isinstance(one, (AuthError, httpx.HTTPError, httpx2.HTTPError)), f"{type(one).__name__} escaped"
        if isinstance(one, AuthError):
            assert 10 < len(str(one)) < LONGEST_MESSAGE, "a message of no words, or of too many"
            assert unfit(str(one)) == [], "a message holds characters that control a terminal"


def _leaves(error: BaseException | None) -> Sequence[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [] if error is None else [error]


def unfit(text: str) -> list[str]:
    """The characters of `text` that control a terminal or the direction of text, by name."""
    return [unicodedata.name(c, f"U+{ord(c):04X}") for c in text if unicodedata.category(c).startswith("C")]
