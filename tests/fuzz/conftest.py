"""What the targets open once, for all inputs, is closed after the last test of this folder."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.checks import close_all
from tests.fuzz.stored import home_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []


@pytest.fixture(scope="package", autouse=True)
def targets_end() -> Iterator[None]:
    """Loops, sockets and files of the targets don't outlive these tests."""
    yield
    close_all()
    shutil.rmtree(home_of(os.getpid()), ignore_errors=True)
