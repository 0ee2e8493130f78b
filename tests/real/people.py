"""A person and their browser at a foreign authorization server's own pages, over HTTP."""

from __future__ import annotations

import http.cookiejar
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Page", "Visitor"]

#: How many pages and redirects a login may take.
MOST_STEPS = 25


@dataclass(frozen=True)
class Page:
    """What was shown. `url` and `text` may hold secrets and aren't printed."""

    status: int
    url: str = field(repr=False)
    text: str = field(repr=False)


class Visitor:
    """Opens an authorization URL in a thread of its own, fills each form that is shown, and follows every redirect.

    To be given as `on_authorization_url`. It types `name` and any password, and says yes, or `denies` where it is asked for
    consent. One visitor keeps its cookies from visit to visit, as a browser does. `alters` is what somebody on the way does
    to the authorization response: it is given its parameters and changes them.
    """

    def __init__(
        self, name: str = "alice", *, denies: bool = False, alters: Callable[[dict[str, str]], None] | None = None
    ) -> None:
        self._name = name
        self._denies = denies
        self._alters = alters
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._urls: list[str] = []
        self._pages: list[Page] = []
        self._answers: list[dict[str, str]] = []
        self._failures: list[Exception] = []
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar, _NoRedirect())

    def __call__(self, url: str) -> bool:
        """Open `url`; returns at once. True: there is no need for another browser."""
        thread = threading.Thread(target=self._visit, args=(url,), name="visitor", daemon=True)
        with self._lock:
            self._urls.append(url)
            self._threads.append(thread)
        thread.start()
        return True

    @property
    def urls(self) -> list[str]:
        """The authorization URLs that were opened, in order."""
        with self._lock:
            return list(self._urls)

    def pages(self) -> list[Page]:
        """Every page that was shown, in order, once all visits have ended. Raises what went wrong in the browser."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(20)
        with self._lock:
            if self._failures:
                raise self._failures[0]
            return list(self._pages)

    @property
    def answers(self) -> list[dict[str, str]]:
        """The parameters of each authorization response that was brought to the client, in order. They hold secrets."""
        with self._lock:
            return list(self._answers)

    def __repr__(self) -> str:
        return f"Visitor({self._name!r}, visits={len(self.urls)})"

    def _visit(self, url: str) -> None:
        try:
            self._browse(url)
        except Exception as error:  # noqa: BLE001 - raised where the test asks for the pages
            with self._lock:
                self._failures.append(error)

    def _browse(self, url: str) -> None:
        redirect_uri = dict(parse_qsl(urlsplit(url).query))["redirect_uri"]
        data: bytes | None = None
        for _ in range(MOST_STEPS):
            page, location = self._once(url, data)
            if location is not None:
                url, data = urljoin(url, location), None
                if url.startswith(f"{redirect_uri}?") and not page.url.startswith(redirect_uri):
                    url = self._bring(redirect_uri, dict(parse_qsl(urlsplit(url).query)))
                continue
            with self._lock:
                self._pages.append(page)
            step = self._answer(page)
            if step is None:
                return
            url, data = step
        raise ValueError("the browser was sent from page to page")

    def _bring(self, redirect_uri: str, answer: dict[str, str]) -> str:
        if self._alters is not None:
            self._alters(answer)
        with self._lock:
            self._answers.append(answer)
        return f"{redirect_uri}?{urlencode(answer)}"

    def _answer(self, page: Page) -> tuple[str, bytes | None] | None:
        """Where to go from `page`, and what to send there."""
        parser = _Parser()
        parser.feed(page.text)
        if parser.action is None or page.status != 200:
            return None
        signing_in = "password" in parser.types.values()
        if self._denies and not signing_in and parser.cancel is not None:
            return urljoin(page.url, parser.cancel), None
        values = dict(parser.hidden)
        for name, kind in parser.types.items():
            values[name] = self._name if kind == "text" else "any"
        for name, value in parser.buttons:
            no = value in ("deny", "cancel", "reject")
            if no == (self._denies and not signing_in):
                values[name] = value
                break
        return urljoin(page.url, parser.action), urlencode(values).encode()

    def _once(self, url: str, data: bytes | None) -> tuple[Page, str | None]:
        assert urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"), "a page led to another machine"
        parts = urlsplit(url)
        headers = (
            {"Accept": "text/html", "Origin": f"{parts.scheme}://{parts.netloc}"} if data else {"Accept": "text/html"}
        )
        request = urllib.request.Request(url, data=data, headers=headers)
        try:
            with self._opener.open(request, timeout=20) as answer:
                return Page(answer.status, url, answer.read().decode(errors="replace")), answer.headers.get("Location")
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.code, url, error.read().decode(errors="replace")), error.headers.get("Location")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    # Followed by hand, so that each step is seen.
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class _Parser(HTMLParser):
    """The first form of a page that is posted: where to, its fields and buttons; and the link that cancels."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.hidden: dict[str, str] = {}
        self.types: dict[str, str] = {}
        self.buttons: list[tuple[str, str]] = []
        self.cancel: str | None = None
        self._link: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        name, kind = found.get("name", ""), found.get("type", "").lower()
        if tag == "a":
            self._link = found.get("href")
        elif tag == "form" and self.action is None and found.get("method", "").lower() == "post":
            self.action = found.get("action", "")
        elif tag in ("button", "input") and kind == "submit" and name:
            self.buttons.append((name, found.get("value", "")))
        elif tag == "input" and kind == "hidden" and name:
            self.hidden[name] = found.get("value", "")
        elif tag == "input" and kind in ("text", "password") and name:
            self.types[name] = kind

    def handle_data(self, data: str) -> None:
        if self._link is not None and "cancel" in data.lower():
            self.cancel = self._link

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._link = None
