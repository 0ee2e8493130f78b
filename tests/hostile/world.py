"""A small internet inside this machine: names, addresses, certificates, honest and hostile servers, and what they saw."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import secrets
import ssl
import tempfile
import unicodedata
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import httpx
import httpx2
import pytest

import mcp_login.sync
from mcp_login import AuthError, MemoryStorage, OAuth
from mcp_login.testing import Person
from tests.flows.strangers import Answer, Asked, Stranger, open_stranger
from tests.flows.support import HEADERS, causes, message
from tests.unit.network.peers import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    import trustme

__all__ = ["AuthorizationServer", "Host", "Outcome", "Resource", "World", "apart"]

#: The longest message that a person is shown, in characters.
LONGEST_MESSAGE = 1500


class Host:
    """A server with a name and addresses of its own. `answer` is what it says; see `tests.flows.strangers`."""

    def __init__(self, origin: str, stranger: Stranger) -> None:
        self.origin = origin
        self.stranger = stranger

    @property
    def answer(self) -> Callable[[Asked], Answer]:
        """How it answers."""
        return self.stranger.answer

    @answer.setter
    def answer(self, answer: Callable[[Asked], Answer]) -> None:
        self.stranger.answer = answer

    @property
    def asked(self) -> list[Asked]:
        """The requests that reached it."""
        return self.stranger.asked

    @property
    def port(self) -> int:
        """The port of loopback that it really is at."""
        return self.stranger.port

    @property
    def connections(self) -> int:
        """How many connections reached it, whatever was said on them."""
        return self.stranger.connections

    def paths(self) -> list[str]:
        """The paths it was asked for."""
        return self.stranger.paths()

    def saw(self, text: str) -> bool:
        """Whether `text` is in anything that reached it: address, header or body, percent-encoded or not."""
        return any(text in part or text in unquote_plus(part) for asked in self.asked for part in _parts(asked))


def _parts(asked: Asked) -> list[str]:
    return [asked.path, urlencode(asked.query), *asked.headers.values(), asked.body.decode("latin-1")]


class AuthorizationServer:
    """An authorization server at `host` that does as the documents say, but for what a test changes.

    `metadata` replaces members of its document (None: left out), `on` answers for a path, `answer` replaces members of the
    token answer. It takes a code once, with its verifier if it was asked for with a challenge, and says yes to every person.
    """

    def __init__(self, host: Host, *, issuer: str | None = None) -> None:
        self.host = host
        self.issuer = host.origin if issuer is None else issuer
        self.metadata: dict[str, Any] = {}
        self.answer: dict[str, Any] = {}
        self.on: dict[str, Callable[[Asked], Answer]] = {}
        self.response: dict[str, str | None] = {}
        #: The secrets that it gave away, by what they are.
        self.given: dict[str, list[str]] = {"code": [], "access_token": [], "refresh_token": [], "client_secret": []}
        self._challenges: dict[str, str] = {}

    def secret(self, kind: str) -> str:
        """A new secret of this server."""
        made = f"{kind}-{secrets.token_hex(16)}"
        self.given.setdefault(kind, []).append(made)
        return made

    def document(self) -> dict[str, Any]:
        """RFC 8414 section 2."""
        base = self.host.origin
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "registration_endpoint": f"{base}/register",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return {name: value for name, value in document.items() if value is not None}

    def __call__(self, asked: Asked) -> Answer | None:
        """Its answer; None where it has nothing at that path."""
        if asked.path in self.on:
            return self.on[asked.path](asked)
        if asked.path.startswith(("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")):
            return Answer(body=self.document())
        match asked.path:
            case "/register":
                return self.register(asked)
            case "/authorize":
                return self.authorize(asked)
            case "/token":
                return self.token(asked)
            case "/revoke":
                return Answer(200)
            case _:
                return None

    def register(self, asked: Asked) -> Answer:
        """RFC 7591 section 3."""
        return Answer(201, {**json.loads(asked.body), "client_id": f"client-{len(self.host.asked)}"})

    def authorize(self, asked: Asked) -> Answer:
        """RFC 6749 section 4.1.2, RFC 9207: yes."""
        code = self.secret("code")
        self._challenges[code] = asked.query.get("code_challenge", "")
        said = {"code": code, "state": asked.query["state"], "iss": self.issuer, **self.response}
        query = urlencode({name: value for name, value in said.items() if value is not None})
        return Answer(302, headers={"Location": f"{asked.query['redirect_uri']}?{query}"})

    def token(self, asked: Asked) -> Answer:
        """RFC 6749 sections 4.1.3 and 6, RFC 7636 section 4.6."""
        form = dict(parse_qsl(asked.body.decode()))
        verifier = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        if form.get("grant_type") == "authorization_code":
            if self._challenges.pop(form.get("code", ""), None) not in ("", verifier):
                return Answer(400, {"error": "invalid_grant"})
        elif form.get("refresh_token") not in self.given["refresh_token"]:
            return Answer(400, {"error": "invalid_grant"})
        said = {
            "access_token": self.secret("access_token"),
            "refresh_token": self.secret("refresh_token"),
            "token_type": "Bearer",
            "expires_in": 3600,
            **self.answer,
        }
        return Answer(body={name: value for name, value in said.items() if value is not None})


class Resource:
    """An MCP server at `host` that wants a token, at `path`. `challenge` and `document` are what it says; `on` as above."""

    def __init__(self, host: Host, *servers: AuthorizationServer, path: str = "/mcp") -> None:
        self.host = host
        self.path = path
        self.servers = servers
        self.url = f"{host.origin}{path}"
        self.challenge = "Bearer"
        self.metadata: dict[str, Any] = {}
        self.on: dict[str, Callable[[Asked], Answer]] = {}
        # A host may have an authorization server of its own, too.
        host.answer = _first_of(self, *(server for server in servers if server.host is host))
        for server in servers:
            if server.host is not host:
                server.host.answer = _first_of(server)

    def document(self) -> dict[str, Any]:
        """RFC 9728 section 2."""
        document = {
            "resource": self.url,
            "authorization_servers": [server.issuer for server in self.servers],
            **self.metadata,
        }
        return {name: value for name, value in document.items() if value is not None}

    def __call__(self, asked: Asked) -> Answer | None:
        """Its answer; None where it has nothing at that path."""
        if asked.path in self.on:
            return self.on[asked.path](asked)
        if asked.path.startswith("/.well-known/oauth-protected-resource"):
            return Answer(body=self.document())
        if asked.path.startswith(self.path):
            tokens = [token for server in self.servers for token in server.given["access_token"]]
            if asked.headers.get("authorization", "").removeprefix("Bearer ") in tokens:
                return Answer(200, {"jsonrpc": "2.0", "id": 1, "result": {}})
            return Answer(401, headers={"WWW-Authenticate": self.challenge})
        return None


def _first_of(*parties: Callable[[Asked], Answer | None]) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        return next((said for one in parties if (said := one(asked)) is not None), Answer(404))

    return answer


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
