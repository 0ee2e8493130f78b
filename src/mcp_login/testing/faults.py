"""Faults that can be switched on while the embedded server runs, counted down by each request they meet."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.responses import Response

from .request_log import known_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .request_log import Endpoint, RecordedRequest

__all__ = ["Fault", "Faults"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, and how often.

    Without `status`, `body`, `error`, `reset` and `truncate` a request is at most delayed.
    """

    #: How many requests it meets; None: all until it is taken away.
    times: int | None = 1
    status: int | None = None
    body: bytes | None = field(default=None, repr=False)
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The Retry-After header: seconds, or any text.
    retry_after: float | str | None = None
    #: An OAuth error, sent as this endpoint sends errors: as JSON, or (authorization endpoint) by redirect.
    error: str | None = None
    error_description: str | None = None
    #: The connection is reset instead of an answer.
    reset: bool = False
    #: The answer's second half never comes.
    truncate: bool = False
    #: The endpoint does its work first, and only then its answer is lost or replaced.
    after_acting: bool = False
    #: The request waits until this is set.
    wait_for: threading.Event | None = None
    #: Only requests that fit; the others pass and aren't counted.
    when: Callable[[RecordedRequest], bool] | None = None

    @property
    def replaces_the_answer(self) -> bool:
        """Whether the endpoint's own answer is not sent."""
        return self.reset or self.status is not None or self.body is not None or self.error is not None

    def answer(self) -> Response:
        """What is sent instead."""
        headers = dict(self.headers)
        if self.retry_after is not None:
            wait = self.retry_after
            headers["Retry-After"] = wait if isinstance(wait, str) else f"{wait:g}"
        if self.error is not None:
            members = {"error": self.error, "error_description": self.error_description}
            content = json.dumps({name: value for name, value in members.items() if value is not None}).encode()
            return Response(content, self.status or 400, headers, media_type="application/json")
        if self.body is not None:
            return Response(self.body, self.status or 200, {"Content-Type": self.content_type, **headers})
        return Response(f"<h1>{self.status}</h1>", self.status or 200, headers, media_type="text/html")


class _Slot:
    """One endpoint's faults: assign a `Fault`, a sequence of them (one after the other), or None."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def __get__(self, faults: Faults, owner: type[Faults]) -> Fault | None:
        return faults.current(self.endpoint)

    def __set__(self, faults: Faults, value: Fault | Sequence[Fault] | None) -> None:
        faults.set(self.endpoint, () if value is None else (value,) if isinstance(value, Fault) else value)


class Faults:
    """The faults of each endpoint: `server.faults.token_endpoint = Fault(status=503, times=2, retry_after=1)`.

    Other names raise `AttributeError`: a fault with a misspelt name would never happen.
    """

    mcp_endpoint: _Slot = _Slot("mcp")
    resource_metadata: _Slot = _Slot("resource_metadata")
    server_metadata: _Slot = _Slot("server_metadata")
    registration_endpoint: _Slot = _Slot("registration")
    authorization_endpoint: _Slot = _Slot("authorization")
    token_endpoint: _Slot = _Slot("token")
    revocation_endpoint: _Slot = _Slot("revocation")

    def __init__(self) -> None:
        self._pending: dict[str, list[tuple[Fault, int | None]]] = {}
        self._lock = threading.Lock()

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and name not in _SLOTS:
            raise AttributeError(f"there is no endpoint {name!r}, only {', '.join(_SLOTS)}", name=name, obj=self)
        super().__setattr__(name, value)

    def set(self, endpoint: Endpoint, faults: Sequence[Fault]) -> None:
        """Let `faults` happen at `endpoint`, one after the other, instead of those it has."""
        with self._lock:
            self._pending[known_endpoint(endpoint)] = [(fault, fault.times) for fault in faults]

    def current(self, endpoint: Endpoint) -> Fault | None:
        """The fault that the next request to `endpoint` may meet."""
        with self._lock:
            pending = self._pending.get(endpoint)
            return pending[0][0] if pending else None

    def clear(self) -> None:
        """Take all faults away."""
        with self._lock:
            self._pending.clear()

    def take(self, request: RecordedRequest) -> Fault | None:
        """The fault that `request` meets, counted down; None: all is well."""
        with self._lock:
            pending = self._pending.get(request.endpoint)
            if not pending:
                return None
            fault, left = pending[0]
            if fault.when is not None and not fault.when(request):
                return None
            if left is None:
                return fault
            if left <= 1:
                pending.pop(0)
            else:
                pending[0] = (fault, left - 1)
            return fault if left > 0 else None


_SLOTS = tuple(name for name, member in vars(Faults).items() if isinstance(member, _Slot))
