"""The demo's steps on screen, read from what the embedded server is asked, while it happens."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .screen import show, styled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp_login.testing import RecordedRequest, RequestLog

__all__ = ["Steps", "label_of", "line", "request_text"]

#: Seconds between two looks at the server's log.
LOOK = 0.05
#: The longest wait for the status of a request whose answer has been seen, in seconds.
LAST_LOOK = 1.0

_REQUEST_WIDTH = 46

_LABELS = {
    "resource_metadata": "metadata",
    "server_metadata": "metadata",
    "registration": "registration",
    "authorization": "consent",
    "consent": "code",
    "token": "token",
    "revocation": "revocation",
}


def label_of(request: RecordedRequest) -> str:
    """The step that `request` is, in one word."""
    if request.endpoint == "mcp":
        if request.status != 401:
            return "call"
        return "challenge" if request.access_token is None else "refused"
    if request.params.get("grant_type") == "refresh_token":
        return "refresh"
    return _LABELS.get(request.endpoint, "request")


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


def line(label: str, text: str, status: int | None = None) -> str:
    """One step, in aligned columns."""
    shown = f"  {styled(f'{label:<14}', sys.stdout, bold=True)}"
    if status is None:
        return shown + text
    colour = "green" if status < 400 else "yellow"
    return f"{shown}{text:<{_REQUEST_WIDTH}}  {styled(str(status), sys.stdout, fg=colour)}"


class Steps:
    """Shows the requests in `log` as they are answered, and lines of our own between them."""

    def __init__(self, log: RequestLog) -> None:
        self._log = log
        self._shown = 0
        self._lock = threading.Lock()

    def say(self, label: str, text: str) -> None:
        """A step that is no request, after the requests so far."""
        self._catch_up()
        show(line(label, text))

    @contextmanager
    def following(self) -> Iterator[None]:
        """Show requests while the block runs."""
        over = threading.Event()

        def follow() -> None:
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
            time.sleep(LOOK / 5)

    def _catch_up(self) -> int:
        """Show what has been answered, in order; how many requests still wait for their answer."""
        with self._lock:
            requests = list(self._log)
            while self._shown < len(requests) and requests[self._shown].status is not None:
                request = requests[self._shown]
                self._shown += 1
                # A browser asks for icons, too.
                if request.endpoint != "unknown":
                    show(line(label_of(request), request_text(request), request.status))
            return len(requests) - self._shown
