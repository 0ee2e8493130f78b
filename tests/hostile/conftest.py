"""Runs each attack defended and undefended (`attack`, `twice`). Fixtures: `world`, `defended`, `parties`, `login`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.hostile.open_login import OpenLogin
from tests.hostile.twice import defended, pytest_addoption, pytest_generate_tests, pytest_pyfunc_call
from tests.hostile.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.hostile.parties import AuthorizationServer, Resource

__all__ = ["defended", "pytest_addoption", "pytest_generate_tests", "pytest_pyfunc_call"]


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """The command line takes the library's log over; a test that runs it in this process gives it back."""
    logger, root = logging.getLogger("mcp_login"), logging.getLogger()
    before = (list(logger.handlers), logger.propagate, list(root.handlers))
    yield
    logger.handlers[:], logger.propagate, root.handlers[:] = before


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture
def world(
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    defended: bool,
) -> Iterator[World]:
    """Hosts with names, addresses and certificates, none of which is outside this machine."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with World(authority, monkeypatch, defended=defended) as world:
        yield world


@pytest.fixture
def parties(world: World) -> tuple[Resource, AuthorizationServer]:
    """An honest server: what is hostile here is on the person's machine."""
    return world.server()


@pytest.fixture
def login(world: World, parties: tuple[Resource, AuthorizationServer]) -> Iterator[OpenLogin]:
    """A login whose person looks at the page."""
    with OpenLogin(world, *parties) as started:
        yield started
