"""What the browser's last page says.

MCP specification, "Authorization Response Validation": on mismatch the client MUST NOT act on or display `error`,
`error_description`, or `error_uri`.
"""

from __future__ import annotations

import pytest

from mcp_login.errors import (
    AuthorizationErrorResponse,
    InvalidResponse,
    IssuerMismatch,
    LoginTimeout,
    StorageError,
    TokenErrorResponse,
    TransportError,
)
from mcp_login.grants.last_page import detail
from mcp_login.storage.memory import MemoryStorage
from mcp_login.sync import login
from mcp_login.testing import EmbeddedServer, Fault, Person

SERVER = "https://mcp.example.com/mcp/key-in-a-path?key=in-a-query"


def test_a_login_is_told_by_the_application_s_name_and_the_server_s_host() -> None:
    assert detail(None, "Field notes", SERVER) == "Field notes is now logged in to mcp.example.com."


def test_names_are_cleaned_and_cut() -> None:
    told = detail(None, "Field\u202e\x1b notes" + "!" * 500, SERVER) or ""
    assert told.startswith("Field notes!")
    assert len(told) < 150


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            AuthorizationErrorResponse(
                "access_denied", error_description="Not today", url="https://as.example.com/tenant?x"
            ),
            "as.example.com answered “access_denied”: Not today",
        ),
        (
            TokenErrorResponse("invalid_grant", url="https://as.example.com:8443/token"),
            "as.example.com:8443 answered “invalid_grant”.",
        ),
        (TokenErrorResponse("invalid_grant"), "The server answered “invalid_grant”."),
        (TransportError("as.example.com is down."), "as.example.com is down."),
    ],
)
def test_a_server_is_quoted_by_its_host(error: Exception, told: str) -> None:
    assert detail(error, "Field notes", SERVER) == told


@pytest.mark.parametrize(
    "error",
    [
        IssuerMismatch(
            expected="https://as.example.com", received="https://evil.example", url="https://as.example.com"
        ),
        InvalidResponse("the parameter `x` is there twice", url="https://as.example.com"),
        StorageError("/a/path can't be read"),
        LoginTimeout("Nobody came", seconds=1),
        KeyboardInterrupt(),
    ],
)
def test_what_was_not_validated_and_what_is_nobody_else_s_business_is_not_told(error: BaseException) -> None:
    assert detail(error, "Field notes", SERVER) is None


def test_a_person_who_is_asked_again_is_not_told_that_it_failed() -> None:
    """The server forgot the registration between two logins: the page of the first attempt sends nobody away."""
    person, storage = Person.approves(), MemoryStorage()
    with EmbeddedServer().run() as server:
        for account, fault in (("first", None), ("second", Fault(error="invalid_client", status=401))):
            server.faults.token_endpoint = fault
            login(
                server.url,
                client_name="Field notes",
                storage=storage,
                on_authorization_url=person,
                interactive=True,
                account=account,
            )
        person.join()
    titles = [page.text.partition("<h1>")[2].partition("</h1>")[0] for page in person.pages]
    assert titles == ["You’re logged in", "Once more, please", "You’re logged in"]
    assert "Field notes is now logged in to 127.0.0.1:" in person.pages[-1].text
