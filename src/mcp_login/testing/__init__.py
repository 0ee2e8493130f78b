"""A protected MCP server for tests, with its authorization server and a person to log in: the extra `testing`.

With pytest, its plugin has them as fixtures (`mcp_login.testing.plugin`); without, begin with `isolated`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import Clock
    from .configuration import Configuration, RegisteredClient
    from .faults import Fault, Faults
    from .isolation import Isolation, isolated
    from .person import Page, Person
    from .request_log import RecordedRequest, RequestLog
    from .server import EmbeddedServer
    from .tokens import Authorization

__all__ = [
    "Authorization",
    "Clock",
    "Configuration",
    "EmbeddedServer",
    "Fault",
    "Faults",
    "Isolation",
    "Page",
    "Person",
    "RecordedRequest",
    "RegisteredClient",
    "RequestLog",
    "isolated",
]

_HOMES = {
    "Authorization": "tokens",
    "Clock": "clock",
    "Configuration": "configuration",
    "EmbeddedServer": "server",
    "Fault": "faults",
    "Faults": "faults",
    "Isolation": "isolation",
    "Page": "person",
    "Person": "person",
    "RecordedRequest": "request_log",
    "RegisteredClient": "configuration",
    "RequestLog": "request_log",
    "isolated": "isolation",
}


def __getattr__(name: str) -> Any:
    # PEP 562: storage contract tests and the clock need neither starlette nor uvicorn.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("starlette", "uvicorn"):
            raise
        raise ModuleNotFoundError(
            f"{__name__}.{name} needs {missing}, which is in the extra `testing`. "
            'In the clone: python -m pip install ".[testing]"',
            name=missing,
        ) from None


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
