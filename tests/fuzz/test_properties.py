"""The targets with inputs that are made by grammar: so there is a search on every system, also without the engine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.grammars import INPUTS
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__: list[str] = []

each = pytest.mark.parametrize("name", TARGETS)
a_few = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Warnings about hostile URLs quote nothing of them, but pytest keeps them all."""
    logger = logging.getLogger("mcp_login")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


def test_every_target_has_a_grammar() -> None:
    assert set(INPUTS) == set(TARGETS)


@each
@a_few
@given(data=st.data())
def test_nothing_escapes_after_what_is_nearly_right(name: str, data: st.DataObject) -> None:
    TARGETS[name].run(data.draw(INPUTS[name]))


@each
@settings(a_few, max_examples=10)
@given(data=st.binary(max_size=200))
def test_nothing_escapes_after_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name].run(data)
