"""One token request for any number of tasks, threads and processes that meet one expired credential; counted at the server.

Field notes, "Concurrency": two processes refresh the same rotating token, and the server ends the login. The same rounds with
their figures: `python -m benchmarks.one_refresh`.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.real import parts
from tests.real.conftest import session_bus
from tests.real.fleet import CROWDS, Crowd, Login, embedded, fleet, foreign, one_refresh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.real.fleet import Member

__all__: list[str] = []

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(150)]

ROUNDS = [(title, storage) for title, (_, storages) in CROWDS.items() for storage in storages]
#: In one process it is the library that lets one of them ask; which server is asked makes no difference.
AMONG_PROCESSES = [(title, storage) for title, storage in ROUNDS if CROWDS[title][0].processes > 1]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a bus's socket."""
    folder = Path(tempfile.mkdtemp(prefix="mcp-login-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def members(folder: Path) -> Iterator[list[Member]]:
    """Processes for all rounds, with a real keychain where there is one."""
    count = max(crowd.processes for crowd, _ in CROWDS.values())
    if parts.find("secret-service") is None:
        with fleet(count) as members:
            yield members
        return
    home = folder / "home"
    home.mkdir(mode=0o700)
    with session_bus(home) as environment, fleet(count, environment=environment) as members:
        yield members


@pytest.fixture(scope="module")
def at_the_embedded_server() -> Iterator[Login]:
    """A login there, which goes through all rounds."""
    with embedded() as server:
        yield Login(server)


@pytest.fixture(scope="module")
def at_oidc_provider() -> Iterator[Login]:
    """A login there, which goes through the rounds among processes."""
    with foreign() as server:
        yield Login(server)


def meet(login: Login, members: list[Member], title: str, storage: str, folder: Path, *, known: bool = True) -> None:
    crowd, _ = CROWDS[title]
    if storage == "keychain":
        parts.need("secret-service")
        # The keychain answers one process at a time, and each of a thousand reads it: half a minute. The command has them all.
        crowd = dataclasses.replace(
            crowd, tasks=min(crowd.tasks, 3), loops=1, threads=min(crowd.threads, 2), trio=min(crowd.trio, 1)
        )
    outcome = one_refresh(login, members, storage, folder, crowd, known=known)
    assert outcome.got == {"200": crowd.callers}
    assert (outcome.token_requests, outcome.refused, outcome.reuse_detections) == (1, 0, 0)
    if known:
        # Else the round says nothing: whoever came later found a new token.
        assert outcome.waited == crowd.callers


@pytest.mark.parametrize(("title", "storage"), ROUNDS, ids=map(", ".join, ROUNDS))
def test_an_expired_token_costs_one_request_at_the_embedded_server(
    at_the_embedded_server: Login, members: list[Member], folder: Path, title: str, storage: str
) -> None:
    meet(at_the_embedded_server, members, title, storage, folder)


@pytest.mark.parametrize(("title", "storage"), AMONG_PROCESSES, ids=map(", ".join, AMONG_PROCESSES))
def test_an_expired_token_costs_one_request_at_oidc_provider(
    at_oidc_provider: Login, members: list[Member], folder: Path, title: str, storage: str
) -> None:
    meet(at_oidc_provider, members, title, storage, folder)


@pytest.mark.parametrize(
    ("title", "storage"), [("64 threads", "memory"), ("16 processes, mixed", "file"), ("16 processes", "keychain")]
)
def test_a_token_that_the_server_has_ended_early_costs_one_request(
    at_the_embedded_server: Login, members: list[Member], folder: Path, title: str, storage: str
) -> None:
    """Nobody knows before the 401s, of which the last may come when the refresh is long over."""
    meet(at_the_embedded_server, members, title, storage, folder, known=False)


def test_a_second_request_would_be_seen(at_the_embedded_server: Login, members: list[Member], folder: Path) -> None:
    """The rounds can fail: two processes that share the record but not the folder of the locks make two requests."""
    login = at_the_embedded_server
    text = login.expired(known=True)
    login.server.clear()
    for number, member in enumerate(members[:2]):
        apart = folder / f"apart-{number}"
        apart.mkdir()
        member.do("place", kind="file", folder=str(apart), url=login.server.url)
        member.do("save", text=text)
    for member in members[:2]:
        member.do("ask")
    assert login.server.token_requests() == (2, 1)
    assert login.server.reuse_detections() == 1
    # The login is over, as it would be for a person.
    login.text = login.server.sign_in()
    outcome = one_refresh(login, members, "file", folder, Crowd(processes=2, threads=1))
    assert outcome.is_one_refresh
