"""What the embedded server saw: every request, in order, as frozen records that show no secret when printed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["SECRET_PARAMETERS", "Endpoint", "RecordedRequest", "RequestLog", "known_endpoint"]

#: The names that requests are counted by. Probes of metadata addresses without a document count as metadata requests.
Endpoint = Literal[
    "mcp",
    "resource_metadata",
    "server_metadata",
    "registration",
    "authorization",
    "consent",
    "token",
    "revocation",
    "unknown",
]

_ENDPOINTS: tuple[Endpoint, ...] = get_args(Endpoint)


def known_endpoint(name: Endpoint) -> Endpoint:
    """`name`; raises `ValueError` where it isn't one of `Endpoint`: a count of a misspelt one would be 0 for ever."""
    if name not in _ENDPOINTS:
        raise ValueError(f"there is no endpoint {name!r}, only {', '.join(_ENDPOINTS)}")
    return name


#: Parameters whose values are never printed.
SECRET_PARAMETERS = frozenset(
    {
        "access_token",
        "client_assertion",
        "client_secret",
        "code",
        "code_verifier",
        "password",
        "refresh_token",
        "state",
        "token",
        "transaction",
    }
)


@dataclass(frozen=True, slots=True, repr=False)
class RecordedRequest:
    """One request. `params` holds the query's and the form's parameters, or the JSON-RPC `method` and tool `name`."""

    endpoint: Endpoint
    method: str
    path: str
    params: Mapping[str, str]
    #: Seconds since the epoch, by the server's clock.
    at: float
    #: Names in lower case.
    headers: Mapping[str, str]
    #: As sent, duplicates included.
    query: tuple[tuple[str, str], ...] = ()
    form: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    #: None while the answer is pending, and where the connection was dropped instead.
    status: int | None = None

    @property
    def access_token(self) -> str | None:
        """The token of the Authorization header, or None."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None

    def __repr__(self) -> str:
        shown = {name: "***" if name in SECRET_PARAMETERS else value for name, value in self.params.items()}
        return f"<{self.endpoint}: {self.method} {self.path} {shown} -> {self.status}>"


class RequestLog:
    """The requests so far; iterate it, index it, count in it. Safe to read from any thread."""

    def __init__(self) -> None:
        self._records: list[RecordedRequest] = []
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[RecordedRequest]:
        return iter(self.matching())

    def __len__(self) -> int:
        return len(self.matching())

    def __getitem__(self, index: int) -> RecordedRequest:
        return self.matching()[index]

    def __repr__(self) -> str:
        return f"RequestLog({self.matching()!r})"

    @property
    def endpoints(self) -> list[Endpoint]:
        """The names of the endpoints that were asked, in order."""
        return [record.endpoint for record in self]

    def matching(self, endpoint: Endpoint | None = None, **params: str) -> list[RecordedRequest]:
        """The requests to `endpoint` (None: to any) that have all of `params`.

        This, `count` and `wait_for` raise `ValueError` for an endpoint that there isn't.
        """
        if endpoint is not None:
            known_endpoint(endpoint)
        with self._changed:
            records = list(self._records)
        return [
            record
            for record in records
            if endpoint in (None, record.endpoint) and all(record.params.get(name) == params[name] for name in params)
        ]

    def count(self, endpoint: Endpoint | None = None, **params: str) -> int:
        """How many requests there were, for example `count("token", grant_type="refresh_token")`."""
        return len(self.matching(endpoint, **params))

    def wait_for(self, endpoint: Endpoint, *, times: int = 1, timeout: float = 10.0, **params: str) -> RecordedRequest:
        """Block until `endpoint` was asked `times` times, at most `timeout` seconds; return that request.

        Raises `TimeoutError` when it wasn't. Call it from another thread than the one that has to make the request.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                found = self.matching(endpoint, **params)
                if len(found) >= times:
                    return found[times - 1]
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{endpoint} was asked {len(found)} times in {timeout} s, not {times}")
                self._changed.wait(left)

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._changed:
            self._records.clear()

    def add(self, record: RecordedRequest) -> Callable[[int], None]:
        """Note a request that has arrived. The function that is returned notes the status of its answer."""
        with self._changed:
            self._records.append(record)
            self._changed.notify_all()

        def answered(status: int) -> None:
            with self._changed:
                # By identity: equal requests are common, and the log may have been cleared meanwhile.
                for index, known in enumerate(self._records):
                    if known is record:
                        self._records[index] = replace(record, status=status)

        return answered
