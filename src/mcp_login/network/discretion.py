"""What HTTP libraries log of our own requests: that something happens, not what is said.

httpcore's lines (DEBUG) hold the headers of answers, in which a server may quote a token, and the password of a SOCKS proxy;
httpx's (INFO) hold whole URLs, whose query may hold a key, and the words of the status line; hpack's (DEBUG, with HTTP/2) hold
all of both. Requests of others are logged as ever.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["discretion"]

#: Whether the code that runs sends a request of ours. Tasks that it starts have the same context.
_is_ours = ContextVar("mcp_login is sending", default=False)


class _Discreet(logging.Filter):
    """Leaves the first `words` of what is logged of our requests, without the query of a URL."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self._words = words

    def filter(self, record: logging.LogRecord) -> bool:
        if _is_ours.get():
            said = " ".join(record.getMessage().split(" ")[: self._words])
            record.msg, record.args, record.exc_info = said.partition("?")[0], (), None
        return True


# Filters count for the very logger that they are added to, and for none below it.
for _version in ("", "2"):
    logging.getLogger(f"httpx{_version}").addFilter(_Discreet(4))  # "HTTP Request: GET <url>"
    for _part in ("connection", "http11", "http2", "proxy", "socks"):
        logging.getLogger(f"httpcore{_version}.{_part}").addFilter(_Discreet(1))  # "receive_response_headers.complete"
for _part in ("hpack", "huffman", "table"):
    logging.getLogger(f"hpack.{_part}").addFilter(_Discreet(1))  # "Decoding"


@contextmanager
def discretion() -> Iterator[None]:
    """While the block runs, HTTP libraries log what it sends as this module says."""
    before = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(before)
