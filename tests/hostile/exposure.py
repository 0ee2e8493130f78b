"""What those see who read what is left of a failure: trackers of errors, loggers, whoever unpickles."""

from __future__ import annotations

import pickle
import traceback
from typing import TYPE_CHECKING

from tests.flows.support import causes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.hostile.parties import AuthorizationServer

__all__ = ["given_by", "in_tracebacks", "pickled"]

_OURS = ("mcp_login",)


def given_by(*servers: AuthorizationServer) -> list[str]:
    """The secrets that `servers` gave away so far."""
    return [secret for server in servers for kind in server.given.values() for secret in kind]


def in_tracebacks(error: BaseException | None, secrets: Iterable[str]) -> list[str]:
    """Where a tracker of errors that writes down local variables finds one of `secrets` in a frame of this library."""
    known = list(secrets)
    return [
        f"{frame.f_globals['__name__']}.{frame.f_code.co_name}: {name}"
        for one in ([] if error is None else causes(error))
        for frame, _ in traceback.walk_tb(one.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith(_OURS)
        for name, value in frame.f_locals.items()
        if any(secret in _shown(value) for secret in known)
    ]


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - trackers go on, too
        return ""


def pickled(error: BaseException) -> str:
    """What `error` takes along to another process."""
    return pickle.dumps(error).decode("latin-1")
