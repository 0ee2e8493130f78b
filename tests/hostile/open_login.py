"""A login whose person looks at the page just now: its listener is open, and an attacker may talk to it."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import mcp_login.sync
from tests.flows.strangers import Asked

if TYPE_CHECKING:
    from types import TracebackType

    from mcp_login import AuthorizationUrl
    from tests.hostile.parties import AuthorizationServer, Resource
    from tests.hostile.world import Outcome, World

__all__ = ["NAVIGATION", "OpenLogin", "Said", "talk"]

#: What Chromium, Firefox and Safari say of a tab that is led to an address by another site.
NAVIGATION = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")


@dataclass(frozen=True, slots=True)
class Said:
    """An HTTP answer as it came; `status` is 0 where there was none."""

    raw: bytes

    @property
    def status(self) -> int:
        words = self.raw.split(b" ", 2)
        return int(words[1]) if len(words) > 2 else 0

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def page(self) -> str:
        return self.raw.partition(b"\r\n\r\n")[2].decode()


def talk(data: bytes, port: int, host: str = "127.0.0.1") -> Said:
    """Send `data`, and listen until the other side has said all."""
    received = b""
    with socket.create_connection((host, port), timeout=5) as peer:
        # Who has had enough may close while this still talks.
        with contextlib.suppress(ConnectionError):
            peer.sendall(data)
        with contextlib.suppress(ConnectionError):
            while part := peer.recv(65536):
                received += part
    return Said(received)


class OpenLogin:
    """Use it in a `with` block: it begins when the person sees the authorization URL, and the login is over at its end."""

    def __init__(self, world: World, resource: Resource, server: AuthorizationServer, **options: Any) -> None:
        self._work = lambda: mcp_login.sync.login(
            resource.url, **world.options(**{"on_authorization_url": self._shown, "callback_timeout": 30.0, **options})
        )
        self._world = world
        self._server = server
        self._seen = threading.Event()
        self._thread = threading.Thread(target=self._run, name="login")
        self._outcome: Outcome | None = None
        self._led_to: str | None = None
        self.url: AuthorizationUrl

    def _shown(self, url: AuthorizationUrl) -> bool:
        self.url = url
        self._seen.set()
        return True

    def _run(self) -> None:
        self._outcome = self._world.attempt(self._work)
        self._seen.set()

    def __enter__(self) -> OpenLogin:
        self._thread.start()
        assert self._seen.wait(10), "no authorization URL was shown"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Whatever became of it, nobody waits for the time limit, nor the listener for who comes for their page.
        with contextlib.suppress(OSError):
            self.browse(self._led_to or self.denied())
        self._thread.join(15)

    @property
    def asked(self) -> dict[str, str]:
        """The parameters of the authorization request."""
        return dict(parse_qsl(urlsplit(self.url).query))

    @property
    def port(self) -> int:
        return urlsplit(self.url.redirect_uri).port or 80

    @property
    def authority(self) -> str:
        """What a browser says in its Host field."""
        return urlsplit(self.url.redirect_uri).netloc

    def target(self, **parameters: str) -> str:
        """The redirect URI's path with these parameters: what a browser asks for."""
        return f"{urlsplit(self.url.redirect_uri).path}?{urlencode(parameters)}"

    def approved(self) -> str:
        """The target that the authorization server leads to when the person says yes: a code of this very request."""
        answer = self._server.authorize(Asked("GET", "/authorize", self.asked, {}, b""))
        parts = urlsplit(answer.headers["Location"])
        return f"{parts.path}?{parts.query}"

    def denied(self) -> str:
        """The target where the person says no."""
        return self.target(error="access_denied", state=self.asked["state"], iss=self._server.issuer)

    def get(self, target: str, *lines: str, method: str = "GET", host: str | None = None, body: str = "") -> Said:
        """What the listener answers to one request."""
        fields = [f"Host: {self.authority if host is None else host}", *lines]
        said = self.send("\r\n".join([f"{method} {target} HTTP/1.1", *fields, "", body]))
        self._led_to = said.headers.get("location", self._led_to)
        return said

    def send(self, text: str) -> Said:
        """What the listener answers to these bytes."""
        return talk(text.encode("latin-1"), self.port)

    def browse(self, target: str, *lines: str) -> Said:
        """What a browser ends up with, that follows redirects."""
        said = self.get(target, *lines)
        while "location" in said.headers:
            said = self.get(said.headers["location"], *lines)
        return said

    def ended(self) -> Outcome:
        """How the login ended. Waits for it."""
        self._thread.join(15)
        assert self._outcome is not None, "the login has not ended"
        return self._outcome

    def ends_well(self) -> Said:
        """The person says yes in their browser, and is logged in; the page that they see."""
        page = self.browse(self.approved(), *NAVIGATION)
        outcome = self.ended()
        assert outcome.error is None, type(outcome.error)
        return page
