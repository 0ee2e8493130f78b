"""A real browser, started by Python's `webbrowser`, in which a person clicks.

The program and the `mcp-login` command are processes of their own, with BROWSER as a person would set it. The servers are
the embedded one and npm's `oidc-provider`, each with its own pages.

RFC 8252 section 8.1, RFC 9700 section 4.3.1: the authorization code is to be in neither the browser's history nor a
Referer. MCP specification, "Authorization Response Validation": nothing of a response that doesn't match is displayed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.wait import WebDriverWait

from mcp_login.testing import EmbeddedServer, Fault
from tests.real import parts
from tests.real.chromium import Desk, desk
from tests.real.oidc_provider import OidcProvider, oidc_provider
from tests.real.programs import request_tool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

__all__: list[str] = []

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]

#: Seconds for a page to come, and for a program to end, on a busy machine.
LIMIT = 30.0

NAME = "Field notes"

# Says how its call went, and stays until its input ends, as a program with more to do does.
PROGRAM = f"""
import json, sys
from mcp_login import AuthError, MemoryStorage, OAuth
from tests.real.programs import call_tool

url, seconds = sys.argv[1], float(sys.argv[2])
auth = OAuth(url, client_name={NAME!r}, storage=MemoryStorage(), callback_timeout=seconds)
try:
    said = {{"result": call_tool(url, auth, "whoami")}}
except AuthError as error:
    said = {{"error": type(error).__name__, "code": getattr(error, "error", None)}}
print(json.dumps(said), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def person() -> Iterator[Desk]:
    """Where somebody sits whose browser is Chromium."""
    with desk() as somebody:
        yield somebody


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """A protected MCP server, whose authorization server has an origin of its own and asks on a page."""
    with EmbeddedServer(separate_authorization_server=True).run() as running:
        yield running


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    """The certified authorization server, with its own pages."""
    with oidc_provider() as running:
        yield running


class Started:
    """A program that was started, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def said(self) -> dict[str, Any]:
        """The line that the program prints when its call is over; it goes on all the same."""
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline())
        return line

    def ended(self) -> tuple[int, str, str]:
        """End the program's input; its exit status, and what it wrote since."""
        output, errors = self._process.communicate(timeout=LIMIT)
        return self._process.returncode, output, errors


@contextmanager
def started(person: Desk, *arguments: str, **environment: str) -> Iterator[Started]:
    """A Python with these arguments, which is ended with the block."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        cwd=parts.ROOT,
        env={**os.environ, "BROWSER": person.browser, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield Started(process)
        finally:
            process.kill()


def program(person: Desk, url: str, seconds: float = LIMIT) -> Any:
    """A program that calls the tool `whoami` of the server at `url`; its person has `seconds`."""
    return started(person, "-c", PROGRAM, url, str(seconds))


def see(driver: Chrome, title: str) -> None:
    """Wait for the page with this title."""
    WebDriverWait(driver, LIMIT, poll_frequency=0.05).until(expected.title_is(title))


def press(driver: Chrome, what: str) -> None:
    """Press `approve` or `deny` on the embedded server's page."""
    see(driver, "Allow access?")
    driver.find_element(By.CSS_SELECTOR, f"button[value={what}]").click()


def text_of(driver: Chrome) -> str:
    return driver.find_element(By.TAG_NAME, "body").text


def history(driver: Chrome) -> list[str]:
    """The addresses that the back button leads to, and the present one."""
    entries = driver.execute_cdp_cmd("Page.getNavigationHistory", {})["entries"]
    return [entry["url"] for entry in entries]


def asked_for(driver: Chrome) -> dict[str, str]:
    """The parameters of the authorization request whose page is shown."""
    return {name: values[0] for name, values in parse_qs(urlsplit(driver.current_url).query).items()}


def test_who_approves_is_told_so_and_the_program_goes_on(person: Desk, server: EmbeddedServer) -> None:
    with program(person, server.url) as running:
        driver = person.look()
        see(driver, "Allow access?")
        assert NAME in text_of(driver)
        assert driver.current_url.startswith(server.endpoint("authorize"))
        redirect_uri = asked_for(driver)["redirect_uri"]
        press(driver, "approve")
        see(driver, "You’re logged in")
        assert f"{NAME} is now logged in to {urlsplit(server.url).netloc}." in text_of(driver)
        assert running.said()["result"]
        # The address with the code was led away from before anything was shown.
        assert driver.current_url.startswith(f"{redirect_uri}/result/")
        assert [url.partition("?")[0] for url in history(driver)] == [
            server.endpoint("authorize"),
            driver.current_url,
        ]
        codes = server.secrets() - {asked_for_state(url) for url in history(driver)}
        assert codes
        assert not [secret for secret in codes for shown in (*history(driver), driver.page_source) if secret in shown]
        driver.back()
        see(driver, "Allow access?")
        assert driver.get_log("browser") == []  # type: ignore[no-untyped-call]
        assert running.ended() == (0, "", "")
    assert server.count("token") == 1


def asked_for_state(url: str) -> str | None:
    """The `state` in an authorization request, which its address may hold: it is of no use without the listener."""
    return parse_qs(urlsplit(url).query).get("state", [None])[0]


def test_who_denies_is_told_so_in_the_servers_words(person: Desk, server: EmbeddedServer) -> None:
    with program(person, server.url) as running:
        driver = person.look()
        press(driver, "deny")
        see(driver, "Login declined")
        host = urlsplit(server.issuer).netloc
        assert f"{host} answered “access_denied”: The person said no." in text_of(driver)
        assert running.said() == {"error": "AuthorizationErrorResponse", "code": "access_denied"}
        assert running.ended() == (0, "", "")
    assert server.count("token") == 0


def test_who_closes_the_window_is_waited_for_until_the_time_is_over(person: Desk, server: EmbeddedServer) -> None:
    with program(person, server.url, seconds=3) as running:
        driver = person.look()
        see(driver, "Allow access?")
        driver.close()
        assert running.said() == {"error": "LoginTimeout", "code": None}
        assert running.ended() == (0, "", "")
    assert server.authorizations == []
    assert server.count("token") == 0


def test_who_answers_too_late_is_told_that_the_login_has_expired(person: Desk, server: EmbeddedServer) -> None:
    with program(person, server.url, seconds=4) as running:
        driver = person.look()
        see(driver, "Allow access?")
        approve = driver.find_element(By.CSS_SELECTOR, "button[value=approve]")
        assert running.said()["error"] == "LoginTimeout"
        approve.click()
        see(driver, "This login has expired")
        assert not [url for url in history(driver) if "code=" in url]
        assert running.ended() == (0, "", "")
    assert [known.decision for known in server.authorizations] == ["approved"]
    assert server.count("token") == 0


def test_a_server_that_refuses_the_code_is_quoted_as_text(person: Desk, server: EmbeddedServer) -> None:
    server.faults.token_endpoint = Fault(
        error="invalid_grant", error_description="Used <b>twice</b><script>document.title = 'Owned'</script>"
    )
    with program(person, server.url) as running:
        driver = person.look()
        press(driver, "approve")
        see(driver, "The login didn’t work")
        assert "answered “invalid_grant”: Used <b>twice</b><script>" in text_of(driver)
        assert driver.find_elements(By.CSS_SELECTOR, "b, script") == []
        assert running.said() == {"error": "TokenErrorResponse", "code": "invalid_grant"}
        assert running.ended() == (0, "", "")


def test_nothing_is_shown_of_a_response_with_another_issuer(person: Desk) -> None:
    with (
        EmbeddedServer(separate_authorization_server=True, iss="wrong").run() as server,
        program(person, server.url) as running,
    ):
        driver = person.look()
        press(driver, "deny")
        see(driver, "The login didn’t work")
        assert "access_denied" not in driver.page_source
        assert "The person said no" not in driver.page_source
        assert driver.find_elements(By.CLASS_NAME, "detail") == []
        assert running.said()["error"] == "IssuerMismatch"
        assert running.ended() == (0, "", "")


def test_a_forged_response_is_ignored_and_the_login_goes_on(person: Desk, server: EmbeddedServer) -> None:
    with program(person, server.url) as running:
        driver = person.look()
        see(driver, "Allow access?")
        request = driver.current_url
        forged = "error=access_denied&error_description=Call+0800+and+tell+them+your+password&state=forged"
        driver.get(f"{asked_for(driver)['redirect_uri']}?{forged}")
        see(driver, "This answer was not expected")
        assert "0800" not in driver.page_source
        driver.get(request)
        press(driver, "approve")
        see(driver, "You’re logged in")
        assert "result" in running.said()


def test_the_pages_of_a_certified_server_lead_to_ours(person: Desk, provider: OidcProvider) -> None:
    with program(person, provider.mcp_url) as running:
        driver = person.look()
        sign_in(driver)
        see(driver, "You’re logged in")
        assert f"{NAME} is now logged in to {urlsplit(provider.mcp_url).netloc}." in text_of(driver)
        assert running.said()["result"]["subject"] == "alice"
        assert not [url for url in history(driver) if "code=" in url]
        assert driver.current_url == history(driver)[-1]
        assert "/callback/result/" in driver.current_url
        assert running.ended() == (0, "", "")
    assert provider.server.count("token", status=200) == 1


def test_cancelling_at_a_certified_server_is_told_as_a_refusal(person: Desk, provider: OidcProvider) -> None:
    with program(person, provider.mcp_url) as running:
        driver = person.look()
        WebDriverWait(driver, LIMIT).until(expected.element_to_be_clickable((By.PARTIAL_LINK_TEXT, "Cancel"))).click()
        see(driver, "Login declined")
        assert f"{urlsplit(provider.issuer).netloc} answered “access_denied”" in text_of(driver)
        assert running.said() == {"error": "AuthorizationErrorResponse", "code": "access_denied"}


def sign_in(driver: Chrome) -> None:
    """Log in as alice, and consent, on the pages of npm's `oidc-provider`."""
    wait = WebDriverWait(driver, LIMIT, poll_frequency=0.05)
    wait.until(expected.element_to_be_clickable((By.NAME, "login"))).send_keys("alice")
    driver.find_element(By.NAME, "password").send_keys("a password")
    button = driver.find_element(By.CSS_SELECTOR, "button[type=submit]")
    button.click()
    wait.until(expected.staleness_of(button))
    wait.until(expected.element_to_be_clickable((By.CSS_SELECTOR, "button[type=submit]"))).click()


def test_the_command_logs_in_and_the_next_one_has_the_token(person: Desk, server: EmbeddedServer) -> None:
    with started(person, "-m", "mcp_login", "login", server.url, MCP_LOGIN_STORAGE="file") as running:
        driver = person.look()
        press(driver, "approve")
        see(driver, "You’re logged in")
        status, output, errors = running.ended()
        assert (status, output) == (0, ""), errors
    with started(person, "-m", "mcp_login", "token", server.url, MCP_LOGIN_STORAGE="file") as running:
        status, output, _ = running.ended()
        assert status == 0
    sent = {"Authorization": f"Bearer {output.strip()}"}
    assert request_tool(server.url, None, "whoami", headers=sent).status_code == 200
    assert server.count("token") == 1


def test_the_demo_is_clicked_through(person: Desk) -> None:
    with started(person, "-m", "mcp_login", "demo", MCP_LOGIN_STORAGE="memory") as running:
        driver = person.look()
        press(driver, "approve")
        see(driver, "You’re logged in")
        assert "mcp-login demo is now logged in to 127.0.0.1:" in text_of(driver)
        status, output, errors = running.ended()
        assert status == 0, errors
        assert output.count("whoami answers") == 3
