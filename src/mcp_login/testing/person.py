"""A person and their browser, for tests: something that opens an authorization URL and answers the page found there."""

from __future__ import annotations

import http.cookiejar
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

if TYPE_CHECKING:
    import httpx

    from .server import EmbeddedServer

__all__ = ["Page", "Person"]

Answer = Literal["approve", "deny", "close"]


@dataclass(frozen=True, slots=True)
class Page:
    """What the browser showed in the end. `url` and `text` may hold secrets and aren't printed."""

    status: int
    url: str = field(repr=False)
    text: str = field(repr=False)


class Person:
    """A stand-in for the browser and the person before it: a `Callable[[str], bool]` that opens a URL in a thread.

    `answer` is what the person says: approve, deny, or close (the window is closed, and nothing ever comes back).
    `waits_for`: the person answers only when this is set. `wrong_state_first`: before the right answer, one with a wrong
    `state` and a made-up code reaches the client, as an attacker's page would send it. `server`: an embedded server that
    is used in process, so that no socket leads to it. `timeout`: of each request, in seconds.

    The class methods are the usual people: `Person.approves()`, `denies`, `closes_the_window`, `is_slow`, `is_attacked`.
    """

    def __init__(
        self,
        answer: Answer = "approve",
        *,
        waits_for: threading.Event | None = None,
        wrong_state_first: bool = False,
        server: EmbeddedServer | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._answer = answer
        self._waits_for = waits_for
        self._wrong_state_first = wrong_state_first
        self._server = server
        self._timeout = timeout
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._urls: list[str] = []
        self._pages: list[Page] = []
        self._failures: list[Exception] = []

    @classmethod
    def approves(cls, **keywords: Any) -> Person:
        """Says yes."""
        return cls("approve", **keywords)

    @classmethod
    def denies(cls, **keywords: Any) -> Person:
        """Says no. (A server with `auto_approve` doesn't ask, so this needs its page.)"""
        return cls("deny", **keywords)

    @classmethod
    def closes_the_window(cls, **keywords: Any) -> Person:
        """Looks at the page and closes it: the client never hears anything."""
        return cls("close", **keywords)

    @classmethod
    def is_slow(cls, waits_for: threading.Event, **keywords: Any) -> Person:
        """Says yes once `waits_for` is set."""
        return cls("approve", waits_for=waits_for, **keywords)

    @classmethod
    def is_attacked(cls, **keywords: Any) -> Person:
        """Says yes, but an answer with a wrong state arrives first."""
        return cls("approve", wrong_state_first=True, **keywords)

    @property
    def urls(self) -> list[str]:
        """The URLs that were opened, in order."""
        with self._lock:
            return list(self._urls)

    @property
    def pages(self) -> list[Page]:
        """The last page of each visit that came to an end, in order."""
        with self._lock:
            return list(self._pages)

    @property
    def failures(self) -> list[Exception]:
        """What went wrong in the browser: pages that couldn't be reached."""
        with self._lock:
            return list(self._failures)

    def __repr__(self) -> str:
        return f"Person({self._answer!r}, opened={len(self.urls)})"

    def __call__(self, url: str) -> bool:
        """Open `url`; returns at once, as a browser does."""
        thread = threading.Thread(target=self._visit, args=(url,), name="mcp-login person", daemon=True)
        with self._lock:
            self._urls.append(url)
            self._threads.append(thread)
        thread.start()
        return True

    def join(self, timeout: float = 10.0) -> None:
        """Wait until all visits have ended, at most `timeout` seconds each."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(timeout)

    def _visit(self, url: str) -> None:
        try:
            page = self._browse(url)
        except (OSError, ValueError) as error:
            with self._lock:
                self._failures.append(error)
            return
        with self._lock:
            self._pages.append(page)

    def _browse(self, url: str) -> Page:
        browser = _Browser(self._timeout, self._server)
        if self._wrong_state_first:
            browser.get(_forged_answer(url))
        if self._waits_for is not None and self._waits_for.wait(timeout=600) is False:
            raise TimeoutError("the person was never told to answer")
        page = browser.get(url, follow=self._answer != "close")
        form = _Form.of(page.text) if page.status == 200 else None
        if form is None or self._answer == "close":
            return page
        return browser.post(urljoin(page.url, form.action), {**form.hidden, "decision": self._answer})


class _Browser:
    """Requests, redirects and cookies, without the proxies of the environment."""

    def __init__(self, timeout: float, server: EmbeddedServer | None) -> None:
        self._timeout = timeout
        self._server = server
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar, _NoRedirect())

    def get(self, url: str, *, follow: bool = True) -> Page:
        return self._fetch(url, None, follow=follow)

    def post(self, url: str, form: dict[str, str]) -> Page:
        return self._fetch(url, urlencode(form).encode(), follow=True)

    def _fetch(self, url: str, form: bytes | None, *, follow: bool) -> Page:
        for _ in range(10):
            page, location = self._once(url, form)
            if location is None or not follow:
                return page
            url, form = urljoin(url, location), None
        raise ValueError("the browser was redirected ten times")

    def _once(self, url: str, form: bytes | None) -> tuple[Page, str | None]:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("the browser opens http and https only")
        server = self._server
        if server is not None and url.startswith((f"{server.origin}/", f"{server.issuer.rstrip('/')}/")):
            return _in_process(server, url, form)
        request = urllib.request.Request(url, data=form, headers={"Accept": "text/html"})  # noqa: S310 (checked above)
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return Page(answer.status, url, answer.read().decode(errors="replace")), answer.headers.get("Location")
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.code, url, error.read().decode(errors="replace")), error.headers.get("Location")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    # Redirects are followed by hand: the next hop may be in process, or not wanted.
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Form(HTMLParser):
    """The first form of a page: its action and its hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.hidden: dict[str, str] = {}

    @classmethod
    def of(cls, page: str) -> _FoundForm | None:
        parser = cls()
        parser.feed(page)
        return None if parser.action is None else _FoundForm(parser.action, parser.hidden)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None and found.get("method", "").lower() == "post":
            self.action = found.get("action", "")
        elif tag == "input" and found.get("type") == "hidden" and "name" in found:
            self.hidden[found["name"]] = found.get("value", "")


@dataclass(frozen=True, slots=True)
class _FoundForm:
    action: str
    hidden: dict[str, str] = field(repr=False)


def _forged_answer(url: str) -> str:
    """The redirect URI of the authorization request `url`, with a code and a state that are not the client's."""
    asked = dict(parse_qsl(urlsplit(url).query))
    parts = urlsplit(asked["redirect_uri"])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode({"code": "forged", "state": "forged"}), ""))


def _in_process(server: EmbeddedServer, url: str, form: bytes | None) -> tuple[Page, str | None]:
    import anyio

    async def ask() -> httpx.Response:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
        async with server.http_client() as client:
            return await client.request("GET" if form is None else "POST", url, content=form, headers=headers)

    answer = anyio.run(ask)
    return Page(answer.status_code, url, answer.text), answer.headers.get("Location")
