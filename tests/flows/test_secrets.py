"""No token, code, verifier, state or client secret in any log, history, error, repr or page.

DESIGN section 3: "Never a token in a URL, log, repr or error"; "With `logging.DEBUG` on everything, a login and a
refresh print no token, code, verifier or secret; `response.history` holds none".
"""

from __future__ import annotations

import dataclasses
import logging
import traceback
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

import mcp_login.sync
from mcp_login import AuthError
from mcp_login.testing import EmbeddedServer, Fault, Person
from tests.flows.support import HEADERS, Login, age, call, causes, login_of, message

if TYPE_CHECKING:
    from tests.flows.conftest import Serve

__all__: list[str] = []


class Everything(logging.Handler):
    """Keeps each record as text, with its arguments and exceptions."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {record.args!r}")


@pytest.fixture
def everything() -> Any:
    """Everything that is logged, by anybody, at DEBUG."""
    handler = Everything()
    root = logging.getLogger()
    names = ["", *logging.root.manager.loggerDict]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.NOTSET)
    root.setLevel(logging.DEBUG)  # not lower: the embedded server's own traces are no concern of a client
    root.addHandler(handler)
    yield handler.lines
    root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def leaks(server: EmbeddedServer, *texts: object) -> list[str]:
    """Where a secret of `server` is in `texts`."""
    secrets = server.secrets()
    assert len(secrets) >= 4
    return [str(text) for text in texts if any(secret in str(text) for secret in secrets)]


SETTINGS = pytest.mark.parametrize(
    "settings",
    [{}, {"registration_answer": "secret_despite_none"}, {"token_endpoint_auth_methods": ("client_secret_basic",)}],
    ids=["public", "secret posted", "secret basic"],
)


@SETTINGS
def test_a_login_a_step_up_a_refresh_and_a_logout_log_no_secret(
    serve: Serve, person: Person, everything: list[str], settings: dict[str, Any]
) -> None:
    server = serve(**settings)
    login = login_of(server, person)
    assert login.ask(call("secret")).status_code == 200
    server.expire_access_tokens()
    assert login.ask().status_code == 200
    age(login.storage, server.url, 7200)
    assert login.ask(auth=login.oauth()).status_code == 200
    mcp_login.sync.logout(server.url, storage=login.storage)
    person.join()
    assert any("mcp_login" in line for line in everything)
    assert leaks(server, *everything) == []


FAULTS = [
    Fault(status=503, times=None, retry_after=60),
    Fault(status=500, body=b"<html>trace</html>", times=None, retry_after=60),
    Fault(truncate=True, times=None, status=200, body=b'{"access_token": "', content_type="application/json"),
    Fault(error="invalid_request", error_description="{refresh}", times=None),
    Fault(error="invalid_client", error_description="bad {refresh} {secret}", status=401, times=None),
    Fault(error="{refresh}", times=None),
    Fault(body=b"{refresh}", times=None),
    Fault(body=b'{"access_token": "\x01{refresh}"}', content_type="application/json", times=None),
]


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_a_refresh_that_fails_shows_no_secret_even_where_the_server_quotes_it(
    serve: Serve, person: Person, everything: list[str], number: int
) -> None:
    server = serve(registration_answer="secret_despite_none")
    login = login_of(server, person)
    age(login.storage, server.url, 7200)
    record = login.record
    assert record is not None
    fault = FAULTS[number]

    def filled(text: str) -> str:
        refresh, secret = record.refresh_token or "", record.client.client_secret or ""
        return text.replace("{refresh}", refresh).replace("{secret}", secret)

    server.faults.token_endpoint = dataclasses.replace(
        fault,
        error=None if fault.error is None else filled(fault.error),
        error_description=None if fault.error_description is None else filled(fault.error_description),
        body=None if fault.body is None else filled(fault.body.decode()).encode(),
    )
    with pytest.raises(AuthError) as caught:
        mcp_login.sync.access_token(server.url, **login.options)
    found = causes(caught.value)
    texts = [text for error in found for text in (str(error), repr(error), repr(error.__dict__), repr(error.args))]
    texts += traceback.format_exception(caught.value)
    assert leaks(server, *everything, *texts) == []


@pytest.mark.parametrize(
    "settings",
    [{"iss": "wrong"}, {"iss": "withheld"}, {"token_type": "dpop"}, {"advertise_pkce": False, "anonymous_methods": ()}],
    ids=str,
)
def test_a_login_that_fails_shows_no_secret(
    serve: Serve, person: Person, everything: list[str], settings: dict[str, Any]
) -> None:
    server = serve(registration_answer="secret_despite_none", **settings)
    login_of(serve(), Person.approves())
    with pytest.raises(AuthError) as caught:
        Login(server, person).ask()
    person.join()
    texts = [text for error in causes(caught.value) for text in (str(error), repr(error), repr(error.__dict__))]
    texts += traceback.format_exception(caught.value)
    pages = [page.text for page in person.pages]
    secrets = server.secrets()
    assert [text for text in (*everything, *texts, *pages) if any(secret in text for secret in secrets)] == []


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_no_history_holds_a_secret(serve: Serve, person: Person, library: Any) -> None:
    server = serve()
    login = Login(server, person)
    with library.Client(auth=login.auth, trust_env=False, verify=False, timeout=20) as client:
        first = client.post(server.url, json=message(), headers=HEADERS)
        server.expire_access_tokens()
        second = client.post(server.url, json=message(), headers=HEADERS)
        third = client.post(server.url, json=call("secret"), headers=HEADERS)
    for response in (first, second, third):
        for one in (*response.history, response):
            assert one.request.url == server.url
            assert leaks(server, one.text, repr(one), repr(one.headers), str(one.url), repr(one.request)) == []


def test_no_repr_holds_a_secret(serve: Serve, person: Person) -> None:
    server = serve(registration_answer="secret_despite_none")
    login = login_of(server, person)
    credentials = mcp_login.sync.login(server.url, **login.options)
    assert credentials.authorization == f"Bearer {credentials.access_token}"
    shown = (
        credentials,
        login.record,
        login.auth,
        login.storage,
        vars(login.auth),
        mcp_login.sync.logout(server.url, storage=login.storage),
    )
    assert leaks(server, *(repr(one) for one in shown)) == []


def test_the_browsers_last_page_has_no_code_in_its_address(serve: Serve, person: Person) -> None:
    """So that it stays in neither the address bar nor the history."""
    server = serve()
    login_of(server, person)
    person.join()
    assert len(person.pages) == 1
    assert leaks(server, person.pages[0].url, person.pages[0].text) == []


def test_nothing_is_printed_unasked(serve: Serve, person: Person, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output may be a protocol's channel or data."""
    server = serve()
    login = login_of(server, person)
    server.expire_access_tokens()
    login.ask()
    mcp_login.sync.logout(server.url, storage=login.storage)
    person.join()
    assert capfd.readouterr() == ("", "")
