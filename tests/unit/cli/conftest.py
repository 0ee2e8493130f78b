"""The command line takes the library's log over; a test that runs it in this process gives it back. Output is plain."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []


@pytest.fixture(autouse=True)
def _plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the width and in the colours that a test says, whatever the terminal or the service that runs it has set."""
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    logger, root = logging.getLogger("mcp_login"), logging.getLogger()
    before = (list(logger.handlers), logger.propagate, logger.level, list(root.handlers))
    yield
    logger.handlers[:], logger.propagate, root.handlers[:] = before[0], before[1], before[3]
    logger.setLevel(before[2])
