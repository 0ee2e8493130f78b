"""Canonical server URIs, origins and containment.

MCP specification 2026-07-28, Authorization, "Canonical Server URI" and "Access Token Usage"; RFC 8707 section 2; RFC
3986.
"""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.errors import PolicyError
from mcp_login.protocol.uri import MAX_READ_URL, canonical_resource, is_loopback_url, is_within, origin, require_secure


@pytest.mark.parametrize(
    "url",
    [
        "https://mcp.example.com/mcp",
        "https://mcp.example.com",
        "https://mcp.example.com:8443",
        "https://mcp.example.com/server/mcp",
    ],
)
def test_the_specifications_valid_uris_are_canonical_already(url: str) -> None:
    """Authorization, "Canonical Server URI": "Examples of valid canonical URIs"."""
    assert canonical_resource(url) == url


@pytest.mark.parametrize("url", ["mcp.example.com", "https://mcp.example.com#fragment"])
def test_the_specifications_invalid_uris_are_refused(url: str) -> None:
    """Authorization, "Canonical Server URI": "Examples of invalid canonical URIs" (missing scheme, fragment)."""
    with pytest.raises(PolicyError):
        canonical_resource(url)


def test_upper_case_scheme_and_host_are_accepted_and_lowered() -> None:
    """Authorization, "Canonical Server URI": "implementations SHOULD accept uppercase scheme and host components"."""
    assert canonical_resource("HTTPS://MCP.Example.COM/Mcp?Q=A") == "https://mcp.example.com/Mcp?Q=A"


def test_a_lone_trailing_slash_is_dropped() -> None:
    """Authorization, "Canonical Server URI": "SHOULD consistently use the form without the trailing slash"."""
    assert canonical_resource("https://mcp.example.com/") == "https://mcp.example.com"


@pytest.mark.parametrize(
    "url", ["https://h.example/mcp/", "https://h.example/mcp?a=b", "https://h.example/mcp?", "https://h.example/?a"]
)
def test_the_most_specific_uri_is_kept(url: str) -> None:
    """Authorization, "Canonical Server URI": "clients SHOULD provide the most specific URI that they can"."""
    assert canonical_resource(url) == url


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://h.example:443/mcp", "https://h.example/mcp"),
        ("https://h.example:/mcp", "https://h.example/mcp"),
        ("https://h.example:00443", "https://h.example"),
        ("https://h.example:80", "https://h.example:80"),
        ("http://localhost:80/mcp", "http://localhost/mcp"),
        ("http://[::1]:8000/mcp", "http://[::1]:8000/mcp"),
    ],
)
def test_the_default_port_is_dropped(url: str, canonical: str) -> None:
    """RFC 3986 section 6.2.3, scheme-based normalisation."""
    assert canonical_resource(url) == canonical


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/mcp",
        "//h.example/mcp",
        "https:/h.example",
        "https:h.example",
        "https://",
        "https:///mcp",
        "https://:443",
        "https://h.example#",
        "https://h.example/a?b#c",
        "https://user@h.example",
        "https://user:pw@h.example",
        "https://@h.example",
        "https://h.example:65536",
        "https://h.example:0",
        "https://h.example:port",
        "https://h.example:4:4",
        "https://h%2eexample",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://[:::]/",
        "https://[1.2.3.4]/",
        "https://[1::2::3]/",
        "https://h.example/" + "x" * MAX_READ_URL,
        "https://h.example/a b",
        " https://h.example",
        "https://h.example\n",
        "https://h.exa\tmple",
        "https://h.example/\x00",
        "https://h.example/\x7f",
        "https://h.example\\@evil.example",
        "https://h.example/a\\b",
        "https://bücher.example",
        "https://h.example/ü",
        "https://h.example/a/../b",
        "https://h.example/./b",
        "https://h.example/a/%2E%2e/b",
        "ftp://h.example",
        "file:///etc/passwd",
        "javascript://h.example/%0aalert(1)",
        "ws://localhost/",
    ],
)
def test_what_parsers_could_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(PolicyError):
        canonical_resource(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/mcp",
        "http://LOCALHOST:8000",
        "http://app.localhost",
        "http://127.0.0.1:1",
        "http://127.9.9.9",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]",
    ],
)
def test_plain_http_is_permitted_on_loopback(url: str) -> None:
    assert is_loopback_url(url)
    assert canonical_resource(url).startswith("http://")


@pytest.mark.parametrize(
    "url",
    [
        "http://h.example",
        "http://127.0.0.1.h.example",
        "http://localhost.h.example",
        "http://notlocalhost",
        "http://127.1",
        "http://2130706433",
        "http://0x7f000001",
        "http://127.0.0.256",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::ffff:127.0.0.1]",
        "http://192.168.0.1",
    ],
)
def test_plain_http_elsewhere_needs_a_word_from_the_caller(url: str) -> None:
    """Security considerations, "Communication Security": endpoints "MUST be served over HTTPS"."""
    assert not is_loopback_url(url)
    with pytest.raises(PolicyError, match="not https"):
        canonical_resource(url)
    assert canonical_resource(url, allow_http=True) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://joe:hunter2@h.example/",
        "https:\\\\joe:hunter2@h.example",
        "http://h.example/?key=hunter2",
        "https://h.example/#hunter2",
    ],
)
def test_no_message_quotes_what_may_be_a_secret(url: str) -> None:
    with pytest.raises(PolicyError) as raised:
        canonical_resource(url)
    assert "hunter2" not in str(raised.value)


def test_a_message_is_fit_for_a_terminal() -> None:
    with pytest.raises(PolicyError) as raised:
        canonical_resource("https://h.example/\x1b[2J\u202e")
    assert str(raised.value).isprintable()


def test_an_origin_has_scheme_host_and_another_than_the_default_port() -> None:
    """RFC 6454 section 4."""
    assert origin("HTTPS://H.example:443/a?b#c") == "https://h.example"
    assert origin("http://h.example:443/") == "http://h.example:443"
    assert origin("https://[2001:DB8::1]:8443/x") == "https://[2001:db8::1]:8443"


@pytest.mark.parametrize("url", ["h.example", "https://", "https://u@h.example", "mailto:a@h.example"])
def test_what_has_no_host_has_no_origin(url: str) -> None:
    with pytest.raises(PolicyError):
        origin(url)


@pytest.mark.parametrize(
    ("url", "resource"),
    [
        ("https://h.example/mcp", "https://h.example/mcp"),
        ("https://h.example/mcp/", "https://h.example/mcp"),
        ("https://h.example/mcp", "https://h.example/mcp/"),
        ("https://h.example/mcp/messages?session=1", "https://h.example/mcp"),
        ("https://h.example/mcp?a=b", "https://h.example/mcp?c=d"),
        ("https://h.example/mcp#part", "https://h.example/mcp"),
        ("HTTPS://H.EXAMPLE:443/mcp", "https://h.example/mcp"),
        ("https://h.example/anything", "https://h.example"),
        ("https://h.example", "https://h.example/"),
        ("https://h.example/mcp/a%2Fb", "https://h.example/mcp"),
        ("https://h.example/%6dcp/x", "https://h.example/mcp"),
        ("https://h.example/a%22b", 'https://h.example/a"b'),
        ("https://h.example/mcp/v1..2/x", "https://h.example/mcp"),
    ],
)
def test_a_url_at_or_below_the_resource_is_within(url: str, resource: str) -> None:
    assert is_within(url, resource)


@pytest.mark.parametrize(
    ("url", "resource"),
    [
        ("https://h.example/mcp2", "https://h.example/mcp"),
        ("https://h.example/", "https://h.example/mcp"),
        ("https://h.example/MCP", "https://h.example/mcp"),
        ("https://h.example//mcp", "https://h.example/mcp"),
        ("https://h.example/mcp;x", "https://h.example/mcp"),
        ("https://h.example:8443/mcp", "https://h.example/mcp"),
        ("http://h.example/mcp", "https://h.example/mcp"),
        ("https://evil.example/mcp", "https://h.example/mcp"),
        ("https://h.example.evil.example/mcp", "https://h.example"),
        ("https://h.example@evil.example/mcp", "https://h.example"),
        ("https://evil.example\\@h.example/mcp", "https://h.example"),
        ("https://u@h.example/mcp", "https://h.example/mcp"),
        ("https://h.example./mcp", "https://h.example/mcp"),
        ("https://h.example/a%2Fmcp", "https://h.example/a/mcp"),
        ("not a url", "https://h.example"),
        ("https://h.example", "not a url"),
        ("", ""),
    ],
)
def test_a_url_beside_the_resource_is_not_within(url: str, resource: str) -> None:
    """Authorization, "Token Handling": no tokens to a server "other than ones issued by [its] authorization server"."""
    assert not is_within(url, resource)


@pytest.mark.parametrize(
    "climb",
    [
        "..",
        "%2e%2e",
        ".%2E",
        "%252e%252e",
        "%25252e%2e",
        "..%2f..",
        "x/..%5c..",
        "x%2f..%2f..",
        "..;x=1",
        "..%00",
        "..%20",
        "..%09;x",
        "..%3bx",
        "a/../..",
    ],
)
def test_dot_segments_in_any_encoding_do_not_escape(climb: str) -> None:
    """RFC 3986 section 5.2.4; servers disagree about who resolves encoded ones, so none counts as inside."""
    assert not is_within(f"https://h.example/mcp/{climb}/admin", "https://h.example/mcp")
    assert not is_within(f"https://h.example/mcp/{climb}", "https://h.example/mcp")


def test_a_resource_with_dot_segments_holds_nothing() -> None:
    assert not is_within("https://h.example/a/../b", "https://h.example/a/..")
    assert not is_within("https://h.example/b", "https://h.example/a/..")


def test_a_path_encoded_again_and_again_is_not_within() -> None:
    assert not is_within("https://h.example/mcp/%" + "25" * 50 + "2e", "https://h.example/mcp")


def test_https_is_required_of_an_endpoint() -> None:
    """Security considerations, "Communication Security": "endpoints MUST be served over HTTPS"."""
    require_secure("https://h.example/token", what="token endpoint", allow_loopback=False)
    with pytest.raises(PolicyError, match="token endpoint"):
        require_secure("http://h.example/token", what="token endpoint", allow_loopback=True)


def test_https_is_required_of_redirect_uris_except_on_loopback() -> None:
    """Security considerations, "Communication Security": "redirect URIs MUST be either localhost or use HTTPS"."""
    require_secure("http://localhost:3000/callback", what="redirect URI", allow_loopback=True)
    with pytest.raises(PolicyError):
        require_secure("http://localhost:3000/callback", what="redirect URI", allow_loopback=False)
    require_secure("http://intranet/callback", what="redirect URI", allow_loopback=False, allow_http=True)


@pytest.mark.parametrize("scheme", ["javascript", "file", "data", "ms-word", "vbscript", "ftp"])
def test_no_other_scheme_is_ever_secure(scheme: str) -> None:
    with pytest.raises(PolicyError):
        require_secure(f"{scheme}://localhost/x", what="authorization endpoint", allow_loopback=True, allow_http=True)


_host = st.from_regex(r"[a-zA-Z0-9]{1,8}(\.[a-zA-Z0-9]{1,5}){0,2}", fullmatch=True)
_segment = st.text("abcXYZ019-._~!$&'()*+,;=:@%", min_size=1, max_size=6).filter(lambda s: "%" not in s)
_path = st.lists(_segment.filter(lambda s: s.partition(";")[0] not in (".", "..")), max_size=4).map(
    lambda parts: "".join("/" + p for p in parts)
)
_urls = st.builds(
    lambda host, path, query: f"https://{host}{path}{query}", _host, _path, st.sampled_from(["", "?", "?a=b", "?/../"])
)


@given(_urls)
def test_canonical_resources_are_canonical(url: str) -> None:
    canonical = canonical_resource(url)
    assert canonical_resource(canonical) == canonical
    assert is_within(url, canonical)
    assert is_within(canonical, url)


@given(_urls, _segment.filter(lambda s: s.partition(";")[0] != ".."))
def test_every_segment_below_a_resource_is_within(url: str, segment: str) -> None:
    resource = url.partition("?")[0]
    assert is_within(f"{resource}/{segment}", resource)


@given(_urls, st.text("abc019-_~", min_size=1))
def test_no_longer_last_segment_is_within(url: str, more: str) -> None:
    resource = url.partition("?")[0]
    if urlsplit(resource).path:
        assert not is_within(resource + more, resource)


@given(st.text() | st.text("ht:/ps@[]%.?#\\ab1"))
def test_any_text_has_an_answer(text: str) -> None:
    for url in (text, "https://" + text, "https://h.example/" + text):
        assert is_within(url, "https://h.example/mcp") in (True, False)
        assert is_loopback_url(url) in (True, False)
        try:
            assert origin(canonical_resource(url, allow_http=True)) == origin(url)
        except PolicyError:
            continue


@given(st.text("./\\%25ef;a", max_size=30))
def test_what_is_within_resolves_inside_however_it_is_decoded(rest: str) -> None:
    """An oracle for the dot segments: decode any number of times, take every slash, resolve."""
    if not is_within("https://h.example/mcp/" + rest, "https://h.example/mcp"):
        return
    text = rest
    for _ in range(6):
        depth = 0
        for segment in text.replace("\\", "/").split("/"):
            depth += {"..": -1}.get(segment.partition(";")[0], 1 if segment not in ("", ".") else 0)
            assert depth >= 0
        text = unquote(text)


def test_the_warm_path_stays_light() -> None:
    """These modules are loaded before every first request: no HTTP, no models, no event loop."""
    heavy = ("pydantic", "asyncio", "anyio", "httpx", "logging", "urllib.request", "email")
    code = "import sys, mcp_login.protocol.uri, mcp_login.protocol.challenge, mcp_login.protocol.pkce\n"
    code += f"print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
