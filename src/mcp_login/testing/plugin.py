"""The pytest plugin: a protected server, a person, a storage and a clock for tests of your own agent's login.

Loaded by every run of pytest where this package is installed, so it imports nothing but pytest: the rest is loaded by fixtures.
For the same reason it keeps to what older versions of pytest and pluggy know, too.
All fixtures imply `mcp_login_isolated`; each is made anew for each test.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from mcp_login.credentials import Credentials
    from mcp_login.storage.base import Storage

    from .clock import Clock
    from .isolation import Isolation
    from .person import Person
    from .server import EmbeddedServer

__all__ = [
    "mcp_login_clock",
    "mcp_login_isolated",
    "mcp_login_person",
    "mcp_login_server",
    "mcp_login_servers",
    "mcp_login_signed_in",
    "mcp_login_storage",
    "pytest_configure",
    "pytest_itemcollected",
    "pytest_runtest_makereport",
]

# Its assertions are those of tests, and shall say as much.
pytest.register_assert_rewrite("mcp_login.testing.storage_contract")

_MARKERS = (
    "mcp_login_server(**settings): the settings of the fixture mcp_login_server, as for mcp_login.testing.EmbeddedServer",
    "mcp_login_person(answer, **keywords): the answer and the keywords of the fixture mcp_login_person, as for Person",
    "mcp_login_signed_in(**keywords): the login of the fixture mcp_login_signed_in, as for EmbeddedServer.sign_in",
)

#: The fixtures that come with a marker of the same name.
_MARKED = ("mcp_login_person", "mcp_login_server", "mcp_login_signed_in")


class _Told:
    """What is told of a test that fails."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.servers: list[EmbeddedServer] = []

    def text(self) -> str:
        lines = []
        for server in self.servers:
            lines.append(f"{server.url} was asked:")
            lines += [f"  {request!r}" for request in server.requests] or ["  nothing"]
        lines.append(f"The person ({self.person.answer}) was shown:")
        seen = [f"HTTP {page.status}: {page.words[:300]}" for page in self.person.pages]
        seen += [f"{type(failure).__name__}: {failure}" for failure in self.person.failures]
        lines += [f"  {line}" for line in seen or ["nothing"]]
        text = "\n".join(lines)
        for secret in (secret for server in self.servers for secret in server.secrets()):
            text = text.replace(secret, "***")
        return text


#: By test. (Not in its `stash`, which pytest has since version 7.)
_TOLD: weakref.WeakKeyDictionary[pytest.Item, _Told] = weakref.WeakKeyDictionary()


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_itemcollected(item: pytest.Item) -> None:
    """A marker brings its fixture, as `usefixtures` would."""
    fixtures = getattr(item, "fixturenames", None)
    if isinstance(fixtures, list):
        marked = {marker.name for marker in item.iter_markers()}
        fixtures += [name for name in _MARKED if name in marked and name not in fixtures]


# Of the older kind: pluggy has `wrapper` since version 1.2.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Where a test fails, say what the servers were asked and what the person saw; without secrets."""
    outcome = yield
    told = _TOLD.get(item)
    if told is not None:
        report: pytest.TestReport = outcome.get_result()
        if report.failed:
            report.sections.append(("mcp-login", told.text()))


@pytest.fixture
def mcp_login_isolated(request: pytest.FixtureRequest) -> Iterator[Isolation]:
    """Keeps the test away from the developer's keychain, browser and data folder: `mcp_login.testing.isolated`."""
    from mcp_login.testing import Clock, Person, isolated

    clock = Clock(_now())
    arguments, keywords = _marked(request, "mcp_login_person")
    person = Person(*arguments, **{"clock": clock, **keywords})
    with isolated(person=person, clock=clock) as isolation:
        _TOLD[request.node] = _Told(person)
        yield isolation


@pytest.fixture
def mcp_login_storage(mcp_login_isolated: Isolation) -> Storage:
    """The default storage of the test, a `MemoryStorage`."""
    return mcp_login_isolated.storage


@pytest.fixture
def mcp_login_clock(mcp_login_isolated: Isolation) -> Clock:
    """The clock of the library and of the servers. It starts at the time of day, and stands still until it is moved."""
    return mcp_login_isolated.clock


@pytest.fixture
def mcp_login_person(request: pytest.FixtureRequest, mcp_login_isolated: Isolation) -> Person:
    """Who stands in for the browser: approves, or does what the marker `mcp_login_person` or an indirect parameter says."""
    person = mcp_login_isolated.person
    if hasattr(request, "param"):
        person.answer = request.param
    return person


@pytest.fixture
def mcp_login_servers(
    request: pytest.FixtureRequest, mcp_login_isolated: Isolation
) -> Iterator[Callable[..., EmbeddedServer]]:
    """`mcp_login_servers(**settings)` starts another `EmbeddedServer` on loopback, until the test ends."""
    import contextlib

    from mcp_login import testing

    try:
        server_class = testing.EmbeddedServer
    except ModuleNotFoundError as error:
        pytest.fail(str(error), pytrace=False)
    with contextlib.ExitStack() as stack:

        def start(*arguments: Any, **settings: Any) -> EmbeddedServer:
            server = server_class(*arguments, **{"clock": mcp_login_isolated.clock, **settings})
            stack.enter_context(server.run())
            _TOLD[request.node].servers.append(server)
            return server

        yield start


@pytest.fixture
def mcp_login_server(
    request: pytest.FixtureRequest, mcp_login_servers: Callable[..., EmbeddedServer]
) -> EmbeddedServer:
    """A protected MCP server with its authorization server, on loopback. The marker `mcp_login_server` has its settings."""
    arguments, settings = _marked(request, "mcp_login_server")
    return mcp_login_servers(*arguments, **settings)


@pytest.fixture
def mcp_login_signed_in(request: pytest.FixtureRequest, mcp_login_server: EmbeddedServer) -> Credentials:
    """A login at `mcp_login_server` that the storage holds already. The marker `mcp_login_signed_in` says which."""
    arguments, keywords = _marked(request, "mcp_login_signed_in")
    if arguments:
        raise TypeError("the marker mcp_login_signed_in takes keywords only, such as account= and scopes=")
    return mcp_login_server.sign_in(**keywords)


def _marked(request: pytest.FixtureRequest, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the markers `name`; a test's own count before those of its class and module."""
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers(name))):
        arguments = marker.args or arguments
        keywords |= marker.kwargs
    return arguments, keywords


def _now() -> float:
    import time

    return time.time()
