"""What `--json` prints: one document to a command, described by `schema.json` beside this module.

Every document says what it is (`document`) and in which format (`format`). Within a format no member is removed or renamed,
and none changes its type or meaning. Members and words may be added, so readers ignore those that they don't know.

Standard library only: an error is a document even where the extra `cli` is missing.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mcp_login.errors import AuthError, ErrorResponse, without_query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mcp_login.storage.index import IndexEntry
    from mcp_login.storage.record import Record

    from .exit_codes import ExitCode

__all__ = [
    "FORMAT",
    "begin_output",
    "document_of",
    "error_member",
    "hinted",
    "list_document",
    "login_document",
    "login_member",
    "rfc3339",
    "schema_text",
    "seconds_left",
    "show_error",
    "show_json",
    "show_text",
    "state_of",
    "token_document",
    "wants_json",
]

#: The format of all documents. It changes when a member is removed, renamed or changes its meaning.
FORMAT: Final = 1

#: How a login was come by: the library's words, and the documents'.
_OUTCOMES = {"login": "logged_in", "refreshed": "renewed", "adopted": "already_logged_in"}


class _Shown:
    """Whether the command has printed its document."""

    document = False


def begin_output() -> None:
    """A command begins: nothing is printed yet."""
    _Shown.document = False


def show_json(document: Mapping[str, Any]) -> None:
    """Write `document` to standard output. In ASCII: it then is JSON in the encoding of any terminal or pipe.

    A command prints one, so that an error which comes after it is not printed (`show_error`).
    """
    text = json.dumps(document, indent=2, allow_nan=False)
    _Shown.document = True
    show_text(text)


def show_error(document: Mapping[str, Any]) -> None:
    """Write `document`, an error's, unless the command has printed its document."""
    if not _Shown.document:
        show_json(document)


def show_text(text: str) -> None:
    """Write `text` and a line end to standard output at once: a reader that went away is noticed here."""
    if sys.stdout is not None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether the command line `arguments` ask for JSON: read as they stand, since they may be what is wrong."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def schema_text() -> str:
    """The JSON Schema (2020-12) of all documents."""
    from importlib.resources import files

    return files(__package__).joinpath("schema.json").read_text(encoding="utf-8")


def document_of(kind: str, **members: Any) -> dict[str, Any]:
    """A document of that kind."""
    return {"document": kind, "format": FORMAT, **members}


def login_document(record: Record, how: str, storage: str, *, now: float | None = None) -> dict[str, Any]:
    """What `login --json` prints. `how` is that of `flight.Renewed`, `storage` the storage's name.

    `now` is in seconds since the epoch (None: the time it is).
    """
    return document_of(
        "login", outcome=_OUTCOMES[how], **login_member(record, storage, time.time() if now is None else now)
    )


def list_document(entries: Iterable[IndexEntry]) -> dict[str, Any]:
    """What `list --json` prints."""
    return document_of(
        "list",
        logins=[
            {
                "server_url": without_query(entry.server_url),
                "account": entry.account,
                "storage": entry.storage,
                "resource": without_query(entry.resource),
                "issuer": entry.issuer,
                "scopes": list(entry.scopes),
                "updated_at": rfc3339(entry.updated_at),
            }
            for entry in entries
        ],
    )


def token_document(record: Record, now: float) -> dict[str, Any]:
    """What `token --json` prints: the one document with a secret in it. `now` is in seconds since the epoch."""
    return document_of(
        "token",
        server_url=without_query(record.server_url),
        account=record.account,
        access_token=record.access_token,
        # The library uses no other type (RFC 6750).
        token_type="Bearer",  # noqa: S106 - a type
        scopes=list(record.granted_scopes),
        expires_at=rfc3339(record.expires_at),
        expires_in=seconds_left(record, now),
    )


def error_member(code: ExitCode, message: str, *, hint: str | None = None, error: AuthError | None) -> dict[str, Any]:
    """An error, in a document."""
    oauth = None
    if isinstance(error, ErrorResponse):
        oauth = {
            "error": error.error,
            "error_description": error.error_description,
            "error_uri": error.error_uri,
            "status_code": error.status_code,
        }
    return {
        "code": code.name.lower(),
        "exit_code": int(code),
        "message": message,
        "hint": hint,
        "retry_after": getattr(error, "retry_after", None),
        "oauth_error": oauth,
    }


def login_member(record: Record, storage: str, now: float) -> dict[str, Any]:
    """A stored login without its secrets. `now` is in seconds since the epoch."""
    return {
        "server_url": without_query(record.server_url),
        "account": record.account,
        "storage": storage,
        "resource": without_query(record.resource),
        "issuer": record.issuer,
        "client_id": record.client.client_id,
        "registration": record.client.mechanism,
        "scopes": list(record.granted_scopes),
        "unrequested_scopes": list(record.unrequested_scopes),
        "state": state_of(record, now),
        "obtained_at": rfc3339(record.obtained_at),
        "expires_at": rfc3339(record.expires_at),
        "expires_in": seconds_left(record, now),
        "renewable": record.refresh_token is not None,
    }


def state_of(record: Record, now: float) -> str:
    """What the login is good for at `now` (seconds since the epoch): "valid", "renewable" (expired) or "expired"."""
    if not record.expires_within(0.0, now):
        return "valid"
    return "expired" if record.refresh_token is None else "renewable"


def seconds_left(record: Record, now: float) -> int | None:
    """Whole seconds that the access token is still good for, negative if it has expired; None: the server didn't say."""
    return None if record.expires_at is None else int(record.expires_at - now)


def rfc3339(seconds: float | None) -> str | None:
    """`seconds` since the epoch as a timestamp of RFC 3339 in UTC; None for None, and for what no calendar holds."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except (OverflowError, OSError, ValueError):
        return None


def hinted(url: str) -> str:
    """`url` in a command to type: that a query belongs to it is told, not which."""
    server, query, _ = url.partition("?")
    return f"{server}?…" if query else server
