"""Who asks for what, before the first login at another site: which sites are others, and what can't fool the reader."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mcp_login import AuthorizationUrl
from mcp_login.cli.announcement import announcement, host_shown, known_issuers, same_site
from mcp_login.errors import StorageError
from mcp_login.storage.index import Index, IndexEntry
from mcp_login.storage.paths import data_path

__all__: list[str] = []

SERVER = "https://mcp.example.com/mcp"
ISSUER = "https://auth.example.net/tenant"


def url_of(
    page: str = "https://auth.example.net/authorize?state=s3cret",
    *,
    server_url: str = SERVER,
    issuer: str = ISSUER,
    resource: str | None = SERVER,
    scopes: tuple[str, ...] = ("files:read",),
) -> AuthorizationUrl:
    return AuthorizationUrl(
        page,
        server_url=server_url,
        issuer=issuer,
        resource=resource,
        scopes=scopes,
        redirect_uri="http://127.0.0.1:4000/callback",
        seconds=300.0,
    )


def told(url: AuthorizationUrl) -> str:
    text = announcement(url, frozenset)
    assert text is not None
    return text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mcp.example.com", "mcp.example.com"),
        ("mcp.example.com", "auth.example.com"),
        ("mcp.example.com", "example.com"),
        ("mcp.example.com", "AUTH.Example.com."),
        ("mcp.example.co.uk", "auth.example.co.uk"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("localhost", "localhost"),
        ("mcp.corp", "mcp.corp"),
        ("a.mcp.corp", "b.mcp.corp"),
    ],
)
def test_hosts_of_one_site(one: str, other: str) -> None:
    assert same_site(one, other)
    assert same_site(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mcp.example.com", "mcp.example.net"),
        ("mcp.example.com", "mcp.example.com.evil.example"),
        ("mcp.example.com", "mcp-example.com"),
        ("mcp.example.com", "mcp.examp1e.com"),
        ("mcp.example.com", "mcp.xn--exmple-cua.com"),
        ("example.co.uk", "other.co.uk"),
        # Tenants of one hosting service (the list's private part).
        ("alice.github.io", "mallory.github.io"),
        ("github.io", "mallory.github.io"),
        ("com", "net"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "127.0.0.2"),
        ("10.0.0.1", "11.0.0.1"),
        ("[::1]", "127.0.0.1"),
        ("localhost", "mcp.localhost"),
        ("a.mcp.localhost", "b.mcp.localhost"),
        ("1.0.0.127.example.com", "127.0.0.1"),
        ("mcp.corp", "auth.corp"),
        ("10.1", "11.1"),
        ("a.10.1", "b.10.1"),
        ("a.example.0x7f", "b.example.0x7f"),
    ],
)
def test_hosts_of_two_sites(one: str, other: str) -> None:
    assert not same_site(one, other)
    assert not same_site(other, one)


def test_another_site_is_told_with_the_resource_the_hosts_and_the_scopes() -> None:
    assert told(
        url_of("https://accounts.example.org/authorize", scopes=("files:read", "offline_access"))
    ).splitlines() == [
        "mcp.example.com sends you to another site to log in, for the first time:",
        "",
        "  resource    https://mcp.example.com/mcp",
        "  issuer      auth.example.net",
        "  login page  accounts.example.org",
        "  scopes      files:read offline_access",
        "              offline_access: the login stays, also while you are away",
        "",
        "Approve only if you expect these names. Ctrl-C ends the login.",
    ]


def test_a_login_page_at_the_issuer_is_not_named_twice_and_no_scopes_are_told_as_such() -> None:
    lines = told(url_of(scopes=())).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["resource", "issuer", "scopes"]
    assert lines[4].endswith("none in particular")


def test_the_same_site_is_not_told_and_earlier_logins_are_not_looked_up() -> None:
    def nobody_asks() -> frozenset[tuple[str, str]]:
        raise AssertionError

    same = url_of("https://login.example.com/authorize", issuer="https://auth.example.com")
    assert announcement(same, nobody_asks) is None


def test_a_login_page_of_another_site_is_told_though_the_issuer_is_of_the_same() -> None:
    assert "accounts.example.org" in told(
        url_of("https://accounts.example.org/authorize", issuer="https://auth.example.com")
    )


def test_only_the_first_login_at_an_issuer_is_told() -> None:
    assert announcement(url_of(), lambda: {("mcp.example.com", ISSUER)}) is None
    # Code point for code point: a look-alike is another one.
    for other in (f"{ISSUER}/", ISSUER.upper(), "https://auth.example.net"):
        assert announcement(url_of(), lambda: {("mcp.example.com", other)}) is not None  # noqa: B023 - called at once


def test_a_login_page_of_a_third_site_is_told_at_every_login() -> None:
    """A server whose first login was on its own site could lead anywhere with the second one."""
    url = url_of("https://phish.example.org/authorize", issuer="https://auth.example.com")
    told = announcement(url, lambda: {("mcp.example.com", "https://auth.example.com")})
    assert told is not None
    assert told.splitlines()[0] == "mcp.example.com sends you to another site to log in:"
    assert "login page  phish.example.org" in told


def test_an_issuer_known_from_another_server_is_told() -> None:
    assert announcement(url_of(), lambda: {("other.example.com", ISSUER)}) is not None


def test_an_address_that_parsers_read_in_two_ways_is_of_another_site() -> None:
    assert announcement(url_of("https://mcp.example.com\\@evil.example/", issuer="https://mcp.example.com"), frozenset)


@pytest.mark.parametrize(
    "page", ["https://[::1/authorize", "https://a\u2100.example/authorize", "https://[x]/", "//", ""]
)
def test_an_address_that_no_parser_reads_is_told_and_not_an_error(page: str) -> None:
    assert "login page" in told(url_of(page))


def test_scopes_of_which_nothing_can_be_shown_are_told_as_such() -> None:
    assert "none that can be shown" in told(url_of(scopes=("\u200b", "")))


def test_a_server_without_a_resource_indicator_is_named_by_its_address_without_the_query() -> None:
    shown = told(url_of(resource=None, server_url=f"{SERVER}?key=s3cret"))
    assert f"  resource    {SERVER}\n" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\u202e", "\u2066", "\u200b", "\u009b", "\r", "\n", "\u2028"])
def test_no_text_of_a_server_drives_the_terminal_or_adds_a_line(character: str) -> None:
    hostile = url_of(
        f"https://auth.example.net{character}/authorize",
        resource=f"{SERVER}{character}issuer  trusted.example",
        issuer=f"https://auth.example.net/{character}",
        scopes=(f"files:{character}read",),
    )
    shown = told(hostile)
    assert character == "\n" or character not in shown
    # urlsplit removes line ends, so that the page's host may be the issuer's.
    names = [name for line in shown.splitlines() if (name := line[:14].strip()) != "login page"]
    assert names[1:-2] == ["", "resource", "issuer", "scopes"]
    assert "trusted.example" in shown.splitlines()[2]


def test_user_information_does_not_pass_for_the_host() -> None:
    shown = told(url_of(issuer="https://mcp.example.com@evil.example/"))
    assert "  issuer      evil.example\n" in shown


@pytest.mark.parametrize(
    ("authority", "shown"),
    [
        ("auth.example.net", "auth.example.net"),
        ("auth.example.net:8443", "auth.example.net:8443"),
        ("[::1]:8000", "[::1]:8000"),
        # A Cyrillic first letter.
        ("xn--pple-43d.com", "xn--pple-43d.com (\u0430pple.com)"),
        ("\u0430pple.com:8443", "xn--pple-43d.com:8443 (\u0430pple.com)"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example (m\u00fcnchen.example)"),
        # Not a name at all.
        ("xn--\u202e.example", "xn--\\u202e.example"),
        ("xn--a.example", "xn--a.example"),
    ],
)
def test_an_international_name_is_shown_as_the_network_knows_it_first(authority: str, shown: str) -> None:
    assert host_shown(authority) == shown


def test_many_scopes_stay_in_their_column_and_offline_access_is_told_among_them() -> None:
    shown = told(url_of(scopes=(*(f"resource:{number}" for number in range(500)), "offline_access")))
    lines = shown.splitlines()
    assert len(lines) < 20
    assert max(map(len, lines)) <= 80
    assert "and more: 501 in all" in shown
    assert "offline_access: the login stays" in shown
    assert all(line.startswith(" " * 14) for line in lines[5:-2])


def test_a_long_scope_hides_none_behind_it() -> None:
    shown = told(url_of(scopes=(*(f"https://scopes.example.com/{'x' * 300}{number}" for number in range(9)), "admin")))
    assert "admin" in shown
    assert "and more" not in shown


def test_the_issuers_of_stored_logins_are_known() -> None:
    assert known_issuers() == set()
    Index().put(IndexEntry(SERVER, None, "file", ISSUER, SERVER, (), 0.0))
    assert known_issuers() == {("mcp.example.com", ISSUER)}


def test_an_entry_without_a_readable_address_keeps_nobody_from_logging_in() -> None:
    Index().put(IndexEntry("https://a\u2100/", None, "file", ISSUER, SERVER, (), 0.0))
    assert known_issuers() == {("a\u2100", ISSUER)}


def test_a_list_of_logins_that_cannot_be_read_knows_nobody() -> None:
    Index().put(IndexEntry(SERVER, None, "file", ISSUER, SERVER, (), 0.0))
    (data_path() / "index.json").write_text('{"format": 99, "entries": []}')
    with pytest.raises(StorageError):
        Index().entries()
    assert known_issuers() == set()


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def test_the_list_of_suffixes_is_read_only_where_names_differ() -> None:
    code = """
import sys
from mcp_login.cli.announcement import same_site
print(same_site("a.example.com", "a.example.com"), same_site("127.0.0.1", "a.example"), "publicsuffixlist" in sys.modules)
print(same_site("a.example.com", "b.example.com"), "publicsuffixlist" in sys.modules)
"""
    assert python(code).splitlines() == ["True False False", "True True"]


def test_without_the_list_other_names_are_other_sites() -> None:
    code = """
import sys
sys.modules["publicsuffixlist"] = None
from mcp_login.cli.announcement import same_site
print(same_site("a.example.com", "b.example.com"), same_site("a.example.com", "a.example.com"))
"""
    assert python(code) == "False True"
