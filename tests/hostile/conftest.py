"""Runs each attack twice, defended and undefended (`attack`). Fixtures: `world`, `defended`."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.hostile.attack import Breach
from tests.hostile.world import World

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

__all__: list[str] = []

_UNDEFENDED = "undefended"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each attack comes in two: with its defences, and without."""
    if any(mark.name == "attack" for mark in getattr(metafunc.function, "pytestmark", ())):
        metafunc.parametrize("defended", [True, False], ids=["defended", _UNDEFENDED], indirect=True)


@pytest.fixture(autouse=True)
def defended(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the library has the defences that the attack names."""
    is_defended: bool = getattr(request, "param", True)
    mark = request.node.get_closest_marker("attack")
    if not is_defended:
        for switch in mark.kwargs["defences"]:
            switch.off(monkeypatch)
    return is_defended


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Undefended, an attack has to succeed."""
    parameters = getattr(getattr(pyfuncitem, "callspec", None), "params", {})
    if parameters.get("defended", True):
        return (yield)
    with contextlib.suppress(Breach):
        yield
        pytest.fail("The attack fails without its defence, too: so this test can't fail, or something else stops it.")
    return True


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
def world(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defended: bool) -> Iterator[World]:
    """Hosts with names, addresses and certificates, none of which is outside this machine."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with World(authority, monkeypatch, defended=defended) as world:
        yield world
