"""Many rotations in a row of one refresh token that 8 processes share, a fifth by expiry and the rest by revocation.

1,000 of each: `python -m benchmarks.rotations --server ... --storage ...`. The keychain takes ten times as long as files.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.real import parts
from tests.real.callers import SharedClock
from tests.real.conftest import session_bus
from tests.real.fleet import fleet, rotate, running

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(240)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a bus's socket."""
    folder = Path(tempfile.mkdtemp(prefix="mcp-login-"))
    (folder / "home").mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("server", "storage", "rotations"),
    [("embedded", "file", 250), ("oidc-provider", "file", 100), ("embedded", "keychain", 20)],
)
def test_no_rotation_of_a_shared_token_loses_the_login(folder: Path, server: str, storage: str, rotations: int) -> None:
    with ExitStack() as stack:
        environment = None
        if storage == "keychain":
            parts.need("secret-service")
            environment = stack.enter_context(session_bus(folder / "home"))
        clock = SharedClock.new(folder / "clock")
        at = stack.enter_context(running(server, clock))
        members = stack.enter_context(fleet(8, environment=environment))
        done = rotate(at, members, storage, folder, clock, rotations=rotations)
    assert (done.by_expiry, done.by_revocation) == (rotations // 5, rotations - rotations // 5)
    assert done.lost == 0, dict(done.seen)
    assert (done.token_requests, done.refused, done.reuse_detections) == (rotations, 0, 0)
