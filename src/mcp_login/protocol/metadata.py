"""What both kinds of metadata documents share (RFC 8414 section 3.2, RFC 9728 section 3.2): is it one, is it sound?

Also `Retry-After` (RFC 9110 section 10.2.3), since an answer that asks for patience is neither. Standard library only:
a refresh must start fast, and it reads JSON, too.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from mcp_login.errors import InvalidResponse

if TYPE_CHECKING:
    from .message import HttpResponse

__all__ = [
    "MAX_DEPTH",
    "MAX_RETRY_AFTER",
    "MAX_VALUES",
    "judge_metadata_response",
    "load_json_object",
    "retry_after",
]

#: How deep the arrays and objects of a document may be nested.
MAX_DEPTH = 20

#: How many values, names included, a document may have about: of a megabyte of "[]" Python makes thirty. Counted before it is
#: decoded, by its commas and brackets, so that those in strings count, too. Honest documents have some hundred.
MAX_VALUES = 50_000

#: The longest wait, in seconds, that a server is believed to mean (one day).
MAX_RETRY_AFTER = 86_400.0


def judge_metadata_response(response: HttpResponse) -> Literal["document", "absent", "unknown"]:
    """Whether `response` is a metadata document, says there is none, or leaves it open.

    "absent": 4xx other than 408 and 429, or 200 that isn't a JSON object (single-page applications answer every path
    with their start page). "unknown": anything else; an outage must not be taken for a server without metadata. A
    "document" may still be refused by its parser. The rule is our own; RFC 8414 section 3.2 knows only success and "an
    applicable error".
    """
    if response.status == 200:
        data = _load(response.body)
        return "document" if data is _EXCESSIVE or isinstance(data, dict) else "absent"
    if 400 <= response.status < 500 and response.status not in (408, 429):
        return "absent"
    return "unknown"


def load_json_object(response: HttpResponse, *, what: str) -> dict[str, Any]:
    """The JSON object in the body of `response`, whatever its Content-Type says.

    `what` names the document in the message ("token response"). Of duplicate names the last one counts (RFC 8259
    section 4). Raises `InvalidResponse` for a body that isn't UTF-8 or isn't JSON (NaN and Infinity are not), that
    isn't an object, that is nested deeper than `MAX_DEPTH` or has more than `MAX_VALUES`. The body is never quoted.
    """
    data = _load(response.body)
    if isinstance(data, dict) and not _too_deep(data):
        return data
    if data is _NOT_JSON:
        reason = f"the {what} is not JSON. Is this the right address?"
    elif data is _EXCESSIVE or isinstance(data, dict):
        reason = (
            f"the {what} is nested deeper than {MAX_DEPTH} levels or has more than {MAX_VALUES:,} values. "
            "Its server is broken or hostile."
        )
    else:
        reason = f"the {what} is not a JSON object. Is this the right address?"
    raise InvalidResponse(reason, url=response.url)


def retry_after(response: HttpResponse, now: float | None = None) -> float | None:
    """The wait that `response` asks for by `Retry-After`, in seconds from 0 to `MAX_RETRY_AFTER`, or None.

    A date counts from the answer's own `Date`, which is of the same clock, else from `now` (seconds since the epoch); with
    neither it isn't understood. Implements RFC 9110 section 10.2.3.
    """
    value = (response.header("retry-after") or "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER)
    said = _http_date((response.header("date") or "").strip(), now)
    now = now if said is None else said
    if now is None:
        return None
    date = _http_date(value, now)
    return None if date is None else min(max(date - now, 0.0), MAX_RETRY_AFTER)


_NOT_JSON = object()
#: What begins as an object and is too much to be looked at.
_EXCESSIVE = object()
_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*+\{")


def _load(body: bytes) -> Any:
    """The value in `body`, `_NOT_JSON` or `_EXCESSIVE`."""
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        return _EXCESSIVE if _OBJECT.match(body) else _NOT_JSON
    try:
        # RFC 8259 section 8.1: UTF-8, and a byte order mark may be ignored. `json.loads` would guess other encodings.
        return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except RecursionError:
        return _EXCESSIVE
    except ValueError:
        return _NOT_JSON


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _too_deep(data: Any) -> bool:
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


_SECONDS = re.compile(r"[0-9]{1,300}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# RFC 9110 section 5.6.7: IMF-fixdate, and the two obsolete forms that a recipient must accept. The English names are
# part of the format, so `strptime`, which obeys the locale, is no help.
_HTTP_DATES = (
    re.compile(rf"[A-Z][a-z]{{2}}, (?P<day>[0-9]{{2}}) (?P<month>[A-Z][a-z]{{2}}) (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]{{5,8}}, (?P<day>[0-9]{{2}})-(?P<month>[A-Z][a-z]{{2}})-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]{{2}} (?P<month>[A-Z][a-z]{{2}}) (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)


def _http_date(value: str, now: float | None) -> float | None:
    """The seconds since the epoch of the HTTP-date `value`, or None. A year of two digits needs `now`."""
    match = next((m for m in (pattern.fullmatch(value) for pattern in _HTTP_DATES) if m), None)
    if match is None or match["month"] not in _MONTHS:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        if now is None:
            return None
        # RFC 9110 section 5.6.7: a date more than 50 years in the future is the past one with the same two digits.
        # By hand, because Windows knows no time before 1970, and a server's Date may be one.
        latest = (_EPOCH + timedelta(seconds=now)).year + 50
        year = latest - (latest - year) % 100
    clock = (int(match["hour"]), int(match["minute"]), min(int(match["second"]), 59))  # 60 is a leap second
    try:
        return datetime(year, _MONTHS.index(match["month"]) + 1, int(match["day"]), *clock, tzinfo=UTC).timestamp()
    except ValueError:
        return None
