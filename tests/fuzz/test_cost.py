"""What a hostile answer can cost, at most: time that grows with its size, and memory within a limit.

RFC 9110 section 17.5: recipients have to limit how much they take in. Counted are calls, of Python and of C functions: they are
the same on any machine. What a C function does by itself (a pattern, a decoder, a copy) is measured in seconds of this process's
own time, never by the clock on the wall. What else the machine does adds to a measure and takes nothing away, so the least of
some counts.
"""

from __future__ import annotations

import gc
import logging
import sys
import time
import tracemalloc
import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.shapes import LARGEST, SHAPES, Shape
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__: list[str] = []

#: The larger of two sizes, in bytes: calls are the same in number wherever they are counted, and what a C function takes can be
#: seen from here on.
FOR_CALLS = 4 << 10
FOR_SECONDS = 32 << 10
#: Eight times the size costs at most this many times as much: with a linear parser 8, with a quadratic one 64.
FACTOR_OF_CALLS = 12
FACTOR_OF_SECONDS = 24
#: Below this many seconds the time says nothing.
UNMEASURABLE = 0.0005
#: How often time is measured, of which the least counts.
TRIES = 4

#: The most for the largest input that the network layer lets through. A target does several things with it, and checks them.
MOST_SECONDS = 2.0
MOST_MEMORY = 32 << 20
#: An input below this many bytes would have to take 250 times its size to come near that.
HARMLESS = 128 << 10

each = pytest.mark.parametrize(
    ("name", "shape"),
    [pytest.param(name, shape, id=f"{name}: {shape.name}") for name, shapes in SHAPES.items() for shape in shapes],
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Warnings about hostile URLs quote nothing of them, but pytest keeps them all."""
    logger = logging.getLogger("mcp_login")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@contextmanager
def without_collector() -> Iterator[None]:
    """The cyclic collector runs when it likes, and looks at the objects of all tests."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def calls_of(run: Callable[[bytes], None], data: bytes) -> int:
    """How many functions are called."""
    count = 0

    def called(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        run(data)
    finally:
        sys.setprofile(before)
    return count


def seconds_of(run: Callable[[bytes], None], data: bytes) -> float:
    """This process's own time for it."""
    began = time.process_time()
    run(data)
    return time.process_time() - began


def growth_in_calls(run: Callable[[bytes], None], shape: Shape, largest: int) -> float:
    """How many times as many calls eight times the size takes."""
    small, large = shape.of(largest // 8), shape.of(largest)
    run(small)
    return calls_of(run, large) / calls_of(run, small)


def growth_in_seconds(run: Callable[[bytes], None], shape: Shape, largest: int) -> float:
    """How many times as long eight times the size takes. Measured again where it is much."""
    small, large = shape.of(largest // 8), shape.of(largest)
    for_small = for_large = float("inf")
    for _ in range(TRIES):
        for_small = min(for_small, *(seconds_of(run, small) for _ in range(TRIES)))
        for_large = min(for_large, seconds_of(run, large))
        if for_large <= FACTOR_OF_SECONDS * max(for_small, UNMEASURABLE):
            break
    return for_large / max(for_small, UNMEASURABLE)


def least_seconds_of(run: Callable[[bytes], None], data: bytes) -> float:
    """The same, measured again where it is too much."""
    least = float("inf")
    for _ in range(TRIES):
        least = min(least, seconds_of(run, data))
        if least < MOST_SECONDS:
            break
    return least


def memory_of(run: Callable[[bytes], None], data: bytes) -> int:
    """How many bytes more it has at most, meanwhile."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        run(data)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@each
def test_the_cost_of_an_input_grows_with_its_size_and_not_with_its_square(name: str, shape: Shape) -> None:
    run = TARGETS[name].run
    with without_collector():
        assert growth_in_calls(run, shape, min(LARGEST[name], FOR_CALLS)) <= FACTOR_OF_CALLS
        assert growth_in_seconds(run, shape, min(LARGEST[name], FOR_SECONDS)) <= FACTOR_OF_SECONDS


@each
def test_the_largest_input_has_a_limit_in_time_and_memory(name: str, shape: Shape) -> None:
    run, data = TARGETS[name].run, shape.of(LARGEST[name])
    assert least_seconds_of(run, data) < MOST_SECONDS
    # Apart from the time: whoever counts memory makes everything take ten times as long.
    if len(data) >= HARMLESS:
        assert memory_of(run, data) < MOST_MEMORY


def test_every_target_has_hostile_shapes() -> None:
    assert set(SHAPES) == set(LARGEST) == set(TARGETS)


# The measures can fail


def _quadratic_in_calls(data: bytes) -> None:
    for at in range(0, len(data), 16):
        for _ in range(0, at, 16):
            len(data)


def _quadratic_in_c(data: bytes) -> None:
    # As `urlsplit` does it with a host. The marks are put in order one by one.
    unicodedata.normalize("NFKC", data.decode())


def test_a_quadratic_parser_is_found() -> None:
    marks = Shape("marks to put in order", "\u0315\u0300", "a")
    assert growth_in_calls(_quadratic_in_calls, marks, FOR_CALLS) > FACTOR_OF_CALLS
    assert growth_in_seconds(_quadratic_in_c, marks, FOR_SECONDS) > FACTOR_OF_SECONDS
