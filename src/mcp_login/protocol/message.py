"""HTTP messages as plain values: what `protocol` builds and judges, and `network` sends.

They keep the rules of the documents apart from any HTTP library.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HttpRequest", "HttpResponse"]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request to be sent. `body` and the values of `headers` may be secret, so neither is shown."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    #: Values that must not come back in any error message (codes, tokens, secrets), in case the peer echoes them.
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer that was read whole, within a size limit. Header names are in lower case."""

    status: int
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first value of the header `name` (lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)

    def header_values(self, name: str) -> list[str]:
        """Every value of the header `name` (lower case), in order."""
        return [value for key, value in self.headers if key == name]
