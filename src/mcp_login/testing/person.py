"""A person and their browser, for tests: something that opens an authorization URL and answers the page found there."""

from __future__ import annotations

import http.client
import http.cookiejar
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

if TYPE_CHECKING:
    import httpx

    from .clock import Clock
    from .server import EmbeddedServer

__all__ = ["Answer", "Page", "Person"]

#: What the person does. wait: looks at the page until another answer is set. absent: nobody is there, and no browser.
Answer = Literal["approve", "deny", "close", "wait", "absent"]

_ANSWERS = frozenset(get_args(Answer))

#: The longest that a person waits to be told what to do, in seconds.
_PATIENCE = 600.0
#: Seconds between two looks at whether they have left, while they wait for something else.
_GLANCE = 0.02
#: The longest that somebody who asks for the pages waits for one that is being loaded, in seconds.
_LAST_PAGE = 5.0
#: Parameters whose values are never shown.
_SECRETS = ("code", "code_challenge", "state")


@dataclass(frozen=True, slots=True)
class Page:
    """What the browser showed in the end. `url` and `text` may hold secrets and aren't printed."""

    status: int
    url: str = field(repr=False)
    text: str = field(repr=False)

    @property
    def words(self) -> str:
        """The visible text, without markup, scripts and styles."""
        reader = _Words()
        reader.feed(self.text)
        return " ".join(" ".join(reader.found).split())


class Person:
    """A stand-in for the browser and the person before it: a `Callable[[str], bool]` that opens a URL in a thread.

    `answer` is what the person does: approve; deny; close (the window is closed, and nothing ever comes back); wait (the page
    is looked at until `answer` is set to another); absent (there is nobody, and no browser). It may be set at any time.

    `waits_for`: the person opens the page only when this is set. `after`: the person answers when `clock` has moved on by so
    many seconds. `wrong_state_first`: before the right answer, one with a wrong `state` and a made-up code reaches the client,
    as an attacker's page would send it. `server`: an embedded server that is used in process, so that no socket leads to it.
    `timeout`: of each request, in seconds.

    The class methods are the usual people: `Person.approves()`, `denies`, `closes_the_window`, `is_slow`, `is_attacked`.
    Raises `ValueError` for an unknown answer, and for `after` without a clock.
    """

    def __init__(
        self,
        answer: Answer = "approve",
        *,
        waits_for: threading.Event | None = None,
        after: float = 0.0,
        clock: Clock | None = None,
        wrong_state_first: bool = False,
        server: EmbeddedServer | None = None,
        timeout: float = 10.0,
    ) -> None:
        if after and clock is None:
            raise ValueError("after= counts the seconds of a clock: give clock=, too")
        self._waits_for = waits_for
        self._after = after
        self._clock = clock
        self._wrong_state_first = wrong_state_first
        self._server = server
        self._timeout = timeout
        self._changed = threading.Condition()
        #: How often the person left, and how many windows are open.
        self._left = 0
        self._open = 0
        #: The threads of those that have answered, and wait for the page that comes of it.
        self._answering: set[int] = set()
        self._threads: list[threading.Thread] = []
        self._urls: list[str] = []
        self._pages: list[Page] = []
        self._failures: list[Exception] = []
        self.answer = answer

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
    def is_slow(cls, waits_for: threading.Event | None = None, **keywords: Any) -> Person:
        """Says yes once `waits_for` is set; without it, once `answer` is set to "approve"."""
        return cls("wait" if waits_for is None else "approve", waits_for=waits_for, **keywords)

    @classmethod
    def is_attacked(cls, **keywords: Any) -> Person:
        """Says yes, but an answer with a wrong state arrives first."""
        return cls("approve", wrong_state_first=True, **keywords)

    @property
    def answer(self) -> Answer:
        """What the person does; set it to change that, also while a page is before them."""
        with self._changed:
            return self._answer

    @answer.setter
    def answer(self, answer: Answer) -> None:
        if answer not in _ANSWERS:
            raise ValueError(f"a person's answer is one of {', '.join(sorted(_ANSWERS))}, not {answer!r}")
        with self._changed:
            self._answer: Answer = answer
            self._changed.notify_all()

    @property
    def is_present(self) -> bool:
        """Whether there is somebody to ask."""
        return self.answer != "absent"

    @property
    def urls(self) -> list[str]:
        """The URLs that were opened, in order."""
        with self._changed:
            return list(self._urls)

    @property
    def pages(self) -> list[Page]:
        """The last page of each visit that came to an end, in order. Waits for one that is still being loaded, at most 5 s."""
        with self._changed:
            self._changed.wait_for(lambda: not self._answering, _LAST_PAGE)
            return list(self._pages)

    @property
    def failures(self) -> list[Exception]:
        """What went wrong in the browser: pages that couldn't be reached. Waits as `pages` does."""
        with self._changed:
            self._changed.wait_for(lambda: not self._answering, _LAST_PAGE)
            return list(self._failures)

    def __repr__(self) -> str:
        return f"Person({self.answer!r}, opened={len(self.urls)})"

    def __call__(self, url: str) -> bool:
        """Open `url`; returns at once, as a browser does. False: nobody is there."""
        if not self.is_present:
            return False
        arguments = (url, self._arrived(url))
        thread = threading.Thread(target=self._stay, args=arguments, name="mcp-login person", daemon=True)
        with self._changed:
            self._threads.append(thread)
        thread.start()
        return True

    def visit(self, url: str) -> str | None:
        """Open `url` and stay to the end. None: the browser came back to the client; else why not, without secrets."""
        return self._stay(url, self._arrived(url))

    def _arrived(self, url: str) -> int:
        """Note that `url` was opened; how often the person had left by then."""
        with self._changed:
            self._urls.append(url)
            self._open += 1
            return self._left

    def _stay(self, url: str, left: int) -> str | None:
        try:
            return self._visit(url, left)
        finally:
            with self._changed:
                self._open -= 1
                self._answering.discard(threading.get_ident())
                self._changed.notify_all()

    def _visit(self, url: str, left: int) -> str | None:
        browser = _Browser(self._timeout, self._server)
        try:
            page, closed = self._browse(browser, url, left)
        except (OSError, ValueError) as error:
            with self._changed:
                self._failures.append(error)
            reason = f"the browser failed with {type(error).__name__}: {error}"
        else:
            with self._changed:
                self._pages.append(page)
            reason = "the person closed the window"
            if not closed:
                reason = f'the person saw a page that leads nowhere, HTTP {page.status}: "{page.words[:300]}"'
        return None if browser.came_back_to(url) else _without_secrets(reason, url)

    def join(self, timeout: float = 10.0) -> None:
        """Wait until all visits have ended, at most `timeout` seconds each."""
        with self._changed:
            threads = list(self._threads)
        for thread in threads:
            thread.join(timeout)

    def leave(self) -> None:
        """Close every window that is still open. Who comes back later is as before."""
        with self._changed:
            self._left += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open == 0, 1.0)

    def _browse(self, browser: _Browser, url: str, left: int) -> tuple[Page, bool]:
        """The last page, and whether the person closed it."""
        limit = time.monotonic() + _PATIENCE
        if self._wrong_state_first:
            browser.get(_forged_answer(url))
        waits_for = self._waits_for
        while waits_for is not None and not waits_for.wait(_GLANCE):
            if self._left != left or time.monotonic() > limit:
                raise TimeoutError("the person was never told to answer")
        due = None if self._clock is None else self._clock() + self._after
        page, location = browser.open(url)
        answer = self._decided(due, left)
        if answer in ("close", "absent"):
            return page, True
        with self._changed:
            self._answering.add(threading.get_ident())
        if location is not None:
            page = browser.get(urljoin(url, location))
        form = _Form.of(page.text) if page.status == 200 else None
        if form is None:
            return page, False
        return browser.post(urljoin(page.url, form.action), {**form.hidden, "decision": answer}), False

    def _decided(self, due: float | None, left: int) -> Answer:
        """What the person answers, when the time has come; who has left has closed the window."""
        limit = time.monotonic() + _PATIENCE
        while due is not None and self._clock is not None and not self._clock.wait_until(due, _GLANCE):
            if self._left != left or time.monotonic() > limit:
                return "close"
        with self._changed:
            self._changed.wait_for(lambda: self._left != left or self._answer != "wait", _PATIENCE)
            return "close" if self._left != left or self._answer == "wait" else self._answer


class _Browser:
    """Requests, redirects and cookies, without the proxies of the environment."""

    def __init__(self, timeout: float, server: EmbeddedServer | None) -> None:
        self._timeout = timeout
        self._server = server
        self._been: list[str] = []
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar, _NoRedirect())

    def came_back_to(self, url: str) -> bool:
        """Whether a request of this browser went to the redirect URI of the authorization request `url`, with its state."""
        asked = dict(parse_qsl(urlsplit(url).query))
        return any(
            been.partition("?")[0] == asked.get("redirect_uri")
            and dict(parse_qsl(urlsplit(been).query)).get("state") == asked.get("state")
            for been in self._been
        )

    def open(self, url: str) -> tuple[Page, str | None]:
        """The page at `url`, and where it redirects to."""
        return self._once(url, None)

    def get(self, url: str) -> Page:
        return self._fetch(url, None)

    def post(self, url: str, form: dict[str, str]) -> Page:
        return self._fetch(url, urlencode(form).encode())

    def _fetch(self, url: str, form: bytes | None) -> Page:
        for _ in range(10):
            page, location = self._once(url, form)
            if location is None:
                return page
            url, form = urljoin(url, location), None
        raise ValueError("the browser was redirected ten times")

    def _once(self, url: str, form: bytes | None) -> tuple[Page, str | None]:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("the browser opens http and https only")
        self._been.append(url)
        server = self._server
        if server is not None and url.startswith((f"{server.origin}/", f"{server.issuer.rstrip('/')}/")):
            return _in_process(server, url, form)
        try:
            return self._over_a_socket(url, form)
        except (http.client.HTTPException, ValueError) as error:
            # Their texts quote the address or the answer, and so a code.
            raise OSError(f"the address can't be opened, or its answer isn't HTTP ({type(error).__name__})") from None

    def _over_a_socket(self, url: str, form: bytes | None) -> tuple[Page, str | None]:
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


class _Words(HTMLParser):
    """The visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 (the base's)
        self._hidden += tag in ("script", "style", "title")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style", "title")

    def handle_data(self, data: str) -> None:
        if self._hidden <= 0:
            self.found.append(data)


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


def _without_secrets(text: str, url: str) -> str:
    """`text` without what must not be shown of the authorization request `url`."""
    for name, value in parse_qsl(urlsplit(url).query):
        if name in _SECRETS:
            text = text.replace(value, "***")
    return text


def _in_process(server: EmbeddedServer, url: str, form: bytes | None) -> tuple[Page, str | None]:
    import anyio

    async def ask() -> httpx.Response:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
        async with server.http_client() as client:
            return await client.request("GET" if form is None else "POST", url, content=form, headers=headers)

    answer = anyio.run(ask)
    return Page(answer.status_code, url, answer.text), answer.headers.get("Location")
