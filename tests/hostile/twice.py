"""The plugin of pytest that runs each attack again without its defences (`attack`). Fixture: `defended`.

With `--parts` it runs the undefended ones once more for each patch of a switch that has several, without that patch: what
breaches all the same doesn't need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.hostile.attack import DEFENDED, Breach, Run, runs

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["defended", "pytest_addoption", "pytest_generate_tests", "pytest_pyfunc_call", "run_of"]

_PLAIN = Run(DEFENDED)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Only where tests/hostile is named on the command line."""
    parser.addoption("--parts", action="store_true", help="try whether each patch of a switch is needed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each attack comes with its defences, without each of them, and without all."""
    mark = metafunc.definition.get_closest_marker("attack")
    if mark is not None:
        defences = mark.kwargs["defences"]
        wanted = runs(defences)
        if metafunc.config.getoption("--parts", default=False):
            # A switch without its only patch switches nothing off: the other runs have that.
            wanted = [
                Run(part.name, (*(other for other in defences if other is not switch), part), succeeds=True)
                for switch in defences
                for part in switch.parts()
                if part.patches
            ]
        metafunc.parametrize("defended", wanted, ids=[run.name for run in wanted], indirect=True)


def run_of(item: pytest.Item) -> Run:
    """Which run of an attack `item` is; an ordinary test is like a defended one."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    run: Run = parameters.get("defended", _PLAIN)
    return run


@pytest.fixture(autouse=True)
def defended(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the attack has to fail. Where it is to succeed, the library lacks the defences that it names."""
    run = run_of(request.node)
    for switch in run.off:
        switch.off(monkeypatch)
    return not run.succeeds


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Undefended, an attack has to succeed. Whatever else it raises than a `Breach` is a failure."""
    if not run_of(pyfuncitem).succeeds:
        return (yield)
    try:
        yield
    except Breach:
        return True
    pytest.fail("The attack fails without its defence, too: so this test can't fail, or something else stops it.")
