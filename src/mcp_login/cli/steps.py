"""The demo's steps: read from what the embedded server is asked, named with their documents and shown while they happen."""

from __future__ import annotations

import os
import sys
import textwrap
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .screen import say, show, styled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from mcp_login.testing import RecordedRequest, RequestLog

__all__ = ["DOCUMENTS", "Sheet", "Step", "Steps", "label_of", "request_text", "step_lines", "time_text"]

#: Seconds between two looks at the server's log, and so the precision of the times.
LOOK = 0.002
#: The longest wait for the status of a request whose answer has been seen, in seconds.
LAST_LOOK = 1.0
#: Columns: of text that goes to no terminal, and of the narrowest one that is written for.
USUAL_WIDTH = 80
LEAST_WIDTH = 40

_MARGIN = 16
_STATUS_WIDTH = 5
_TIME_WIDTH = 9

#: What each step does, and the documents that it is described in.
DOCUMENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "challenge": ("says where to ask", ("RFC 9110", "RFC 6750", "RFC 9728 section 5.1")),
    "resource metadata": ("names the authorization server", ("RFC 9728",)),
    "server metadata": ("names the endpoints", ("RFC 8414",)),
    "registration": ("this program gets a client id", ("RFC 7591",)),
    "browser": ("native app, with PKCE", ("RFC 8252", "RFC 7636")),
    "consent": ("the page that asks", ("RFC 6749 section 4.1.1", "RFC 8707")),
    "code": ("comes back to this program", ("RFC 6749 section 4.1.2", "RFC 9207")),
    "token": ("code and verifier for tokens", ("RFC 6749", "RFC 7636", "RFC 8707")),
    "call": ("with the token", ("RFC 6750 section 2.1",)),
    "refused": ("the token is no longer good", ("RFC 6750 section 3.1",)),
    "refresh": ("the refresh token for new tokens", ("RFC 6749 section 6", "RFC 8707")),
    "revocation": ("dead at the server, too", ("RFC 7009",)),
}

_NAMES = {
    "resource_metadata": "resource metadata",
    "server_metadata": "server metadata",
    "registration": "registration",
    "authorization": "consent",
    "consent": "code",
    "token": "token",
    "revocation": "revocation",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the demo: a request that was answered, or the browser that is waited for.

    `seconds` is what it took: since the step before was over, so that what happens between two requests counts with the second.
    What happens in the browser counts from when the request arrives.
    """

    part: str
    name: str
    endpoint: str | None = None
    method: str | None = None
    path: str | None = None
    status: int | None = None
    seconds: float | None = None

    @property
    def documents(self) -> tuple[str, ...]:
        """The documents that describe it."""
        return DOCUMENTS[self.name][1] if self.name in DOCUMENTS else ()

    def as_json(self) -> dict[str, Any]:
        """It, as a member of a document."""
        return {
            "part": self.part,
            "name": self.name.replace(" ", "_"),
            "documents": list(self.documents),
            "endpoint": self.endpoint,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "duration_ms": None if self.seconds is None else round(self.seconds * 1000, 1),
        }


class Sheet:
    """Where the demo writes: standard output, or standard error where standard output is for data.

    `columns` is the width (None: the terminal's, 80 at most, and 80 where it is none).
    """

    def __init__(self, *, on_stderr: bool = False, columns: int | None = None) -> None:
        self._on_stderr = on_stderr
        self.columns: int = _width(self.stream) if columns is None else columns

    @property
    def stream(self) -> TextIO:
        """The stream, as it is now."""
        return sys.stderr if self._on_stderr else sys.stdout

    def write(self, text: str = "", **style: Any) -> None:
        """A line, or several."""
        (say if self._on_stderr else show)(text, **style)

    def wrapped(self, text: str, *, indent: str = "", **style: Any) -> None:
        """A paragraph."""
        for line in textwrap.wrap(
            text,
            self.columns,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ):
            self.write(line, **style)

    def styled(self, text: str, **style: Any) -> str:
        """`text` in colours, where they are wanted."""
        return styled(text, self.stream, **style)


def label_of(request: RecordedRequest) -> str:
    """The step that `request` is, in one word or two."""
    if request.endpoint == "mcp":
        if request.status != 401:
            return "call"
        return "challenge" if request.access_token is None else "refused"
    if request.params.get("grant_type") == "refresh_token":
        return "refresh"
    return _NAMES.get(request.endpoint, "request")


def request_text(request: RecordedRequest) -> str:
    """`request` without anything secret: no query, no body but the names in it."""
    text = f"{request.method:<4} {request.path}"
    if request.endpoint == "mcp":
        return f"{text}  {request.params.get('name') or request.params.get('method', '')}".rstrip()
    if request.endpoint == "token":
        return f"{text}  {request.params.get('grant_type', '')}"
    if request.endpoint == "revocation":
        return f"{text}  {request.params.get('token_type_hint', '')}".rstrip()
    return text


def time_text(seconds: float) -> str:
    """`seconds` as a stopwatch tells them: "8 ms", "3.2 s"."""
    return f"{max(0.0, seconds) * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


def step_lines(step: Step, text: str, sheet: Sheet) -> list[str]:
    """One step, in aligned columns: what is asked, the status and the time; below it what for, and the documents."""
    room = sheet.columns - _MARGIN - (_STATUS_WIDTH + _TIME_WIDTH if step.status is not None else 0)
    shown = _shortened(text, room)
    # The second word of a label that has two is told by the text below it.
    first = f"  {sheet.styled(f'{step.name.split()[-1]:<{_MARGIN - 2}}', bold=True)}{shown}"
    if step.status is not None and step.seconds is not None:
        status = sheet.styled(str(step.status), fg="green" if step.status < 400 else "yellow")
        first += f"{' ' * (room - len(shown))}  {status}{time_text(step.seconds):>{_TIME_WIDTH}}"
    purpose, documents = DOCUMENTS.get(step.name, ("", ()))
    below = textwrap.wrap(f"{purpose} ({', '.join(_unbroken(name) for name in documents)})", sheet.columns - _MARGIN)
    return [
        first,
        *(f"{' ' * _MARGIN}{sheet.styled(line.replace(_NO_BREAK, ' '), dim=True)}" for line in below if documents),
    ]


class Steps:
    """Shows the requests in `log` as they are answered, and lines of our own between them.

    `clock` is the log's, in seconds since the epoch. `decided` is called when the person's decision has reached the server.
    """

    def __init__(
        self,
        log: RequestLog,
        sheet: Sheet,
        *,
        clock: Callable[[], float] = time.time,
        decided: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._sheet = sheet
        self._clock = clock
        self._decided = decided
        self._shown = 0
        self._lock = threading.Lock()
        self._opened_at: float | None = None
        self._last = clock()
        #: Those so far, in order.
        self.taken: list[Step] = []
        #: How long a browser was waited for, in seconds.
        self.waited: float = 0.0
        self._part = ""

    def begin(self, part: str) -> None:
        """From now on steps belong to `part`."""
        with self._lock:
            self._part, self._last, self._opened_at = part, self._clock(), None

    def browser(self, text: str) -> None:
        """The browser is about to open; `text` says whose. Shown after the requests so far."""
        self._catch_up()
        with self._lock:
            step = Step(self._part, "browser")
            if self._opened_at is None:
                self._opened_at = self._clock()
                self.taken.append(step)
            self._show(step, text)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Show requests while the block runs."""
        over = threading.Event()

        def follow() -> None:
            # Whoever reads this has gone, say: the command itself will notice.
            with suppress(OSError):
                while not over.wait(LOOK):
                    self._catch_up()

        thread = threading.Thread(target=follow, name="mcp-login demo", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._finish()

    def _finish(self) -> None:
        deadline = time.monotonic() + LAST_LOOK
        while self._catch_up() and time.monotonic() < deadline:
            time.sleep(LOOK)

    def _catch_up(self) -> int:
        """Show what has been answered, in order; how many requests still wait for their answer."""
        with self._lock:
            requests = list(self._log)
            now = self._clock()
            while self._shown < len(requests) and requests[self._shown].status is not None:
                request = requests[self._shown]
                self._shown += 1
                # A browser asks for icons, too.
                if request.endpoint != "unknown":
                    self._take(request, now)
            return len(requests) - self._shown

    def _take(self, request: RecordedRequest, now: float) -> None:
        if request.endpoint == "consent" and self._opened_at is not None:
            self._end_wait(request.at)
        step = Step(
            self._part,
            label_of(request),
            request.endpoint,
            request.method,
            request.path,
            request.status,
            max(0.0, now - (request.at if request.endpoint in ("authorization", "consent") else self._last)),
        )
        self._last = now
        self.taken.append(step)
        self._show(step, request_text(request))

    def _end_wait(self, at: float) -> None:
        assert self._opened_at is not None  # noqa: S101 - the caller saw it
        waited, self._opened_at = max(0.0, at - self._opened_at), None
        self.waited += waited
        self.taken = [
            Step(step.part, step.name, seconds=waited) if step.name == "browser" and step.seconds is None else step
            for step in self.taken
        ]
        self._decided()

    def _show(self, step: Step, text: str) -> None:
        self._sheet.write("\n".join(step_lines(step, text, self._sheet)))


_NO_BREAK = "\N{NO-BREAK SPACE}"


def _shortened(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    method, _, path = text.partition(" /")
    if path.startswith(".well-known/"):
        # Its end tells more than its beginning.
        return f"{method:<5}…{path[6 - room :]}"
    return f"{text[: room - 1]}…"


def _unbroken(document: str) -> str:
    return document.replace(" ", _NO_BREAK)


def _width(stream: TextIO) -> int:
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else USUAL_WIDTH
    except (OSError, ValueError):
        columns = USUAL_WIDTH
    return max(LEAST_WIDTH, min(columns or USUAL_WIDTH, USUAL_WIDTH))
