"""Web pages, neighbours on the machine and other users that talk to the loopback listener (RFC 8252 section 8, RFC 9700)."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest

from mcp_login import AuthorizationErrorResponse
from tests.hostile.attack import attack, refute
from tests.hostile.open_login import NAVIGATION, OpenLogin, Said
from tests.hostile.switches.confusion import STATE
from tests.hostile.switches.listener import (
    ANSWER_ONLY_BY_GET,
    ANSWER_ONLY_BY_NAVIGATION,
    HEADERS,
    HOST,
    NO_PREFETCH,
    SAME_ANSWER,
    SECRET_ADDRESS,
    TARGET_COUNTS,
)

if TYPE_CHECKING:
    from tests.hostile.parties import AuthorizationServer, Resource

__all__: list[str] = []

#: The header fields without which a page could be kept, framed, guessed at or told on.
STRICT = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


# Whose request it is


#: Names that lead to this machine, or may be made to, and what looks like the listener's own.
OTHER_NAMES = [
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "127.0.0.1",
    "127.0.0.1:80",
    "127.0.0.1:0{port}",
    "127.0.0.1.:{port}",
    "127.1:{port}",
    "127.0.0.2:{port}",
    "0.0.0.0:{port}",
    "2130706433:{port}",
    "localhost:{port}",
    "localhost.:{port}",
    "[::1]:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "evil@127.0.0.1:{port}",
    "127.0.0.1:{port}@evil.example",
    "127.0.0.1:{port},evil.example",
]


@attack("RFC 9112 section 3.2; DNS rebinding", HOST)
def test_under_another_name_the_listener_takes_no_answer(login: OpenLogin) -> None:
    """A page of evil.example whose name leads to this machine by now would be of one origin with the answers."""
    target = login.approved()
    said = {name: login.get(target, host=name.format(port=login.port)).status for name in OTHER_NAMES}
    refute([name for name, status in said.items() if status == 303], "an answer was taken under another name")
    assert set(said.values()) <= {400, 421}
    login.ends_well()


@attack("RFC 9112 section 3.2.2", TARGET_COUNTS)
def test_a_target_with_another_authority_is_not_saved_by_its_host_field(login: OpenLogin) -> None:
    said = login.get(f"http://evil.example:{login.port}{login.approved()}")
    refute(said.status != 421, "an answer was taken under another name")
    login.ends_well()


@attack("RFC 9700 section 4.7.1; MCP specification, Open Redirection", STATE)
def test_an_answer_with_another_state_ends_nothing_and_its_code_goes_nowhere(
    login: OpenLogin, parties: tuple[Resource, AuthorizationServer]
) -> None:
    """The code is of a login of the attacker's own: whoever takes it works in the attacker's account from then on."""
    state = login.asked["state"]
    for forged in ("guess", "", state[:-1], f"{state}x", state.swapcase(), f"%00{state}", f"{state}%20", "null"):
        login.get(f"/callback?code=code-of-the-attacker&iss={parties[1].issuer}&state={forged}")
    with contextlib.suppress(OSError):
        login.browse(login.approved())
    outcome = login.ended()
    refute(parties[1].host.saw("code-of-the-attacker"), "a code that nobody asked for was sent to the token endpoint")
    assert outcome.error is None


def test_an_answer_whose_state_could_be_read_in_two_ways_is_ignored(login: OpenLogin) -> None:
    for query in (
        "code=x&state={state}&state={state}",
        "code=x&state={state}&state=other",
        "code=x&state[]={state}",
        "code=x#state={state}",
        "code=x;state={state}",
        f"{'x=y&' * 100}code=x&state={{state}}",
        "",
    ):
        assert login.get(f"/callback?{query.format(state=login.asked['state'])}").status == 400
    login.ends_well()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT"])
@attack("RFC 6749 section 4.1.2; RFC 9700 section 4.12", ANSWER_ONLY_BY_GET)
def test_a_look_or_a_form_brings_no_answer(login: OpenLogin, method: str) -> None:
    """Link checkers look first; and a 307 sends the login form, with the person's password, on to here."""
    said = login.get(login.approved(), "Content-Length: 21", method=method, body="user=me&password=mine")
    refute(said.status == 303, "the answer was taken")
    assert said.status == {"HEAD": 200, "OPTIONS": 204}.get(method, 405)
    assert "access-control-allow-origin" not in said.headers
    login.ends_well()


#: How a page gets at another address without leaving its own.
BEHIND_A_PAGE = [
    ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
    ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: object"),
    ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
    ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"),
    ("Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Origin: https://evil.example"),
    ("Sec-Fetch-Mode: websocket", "Sec-Fetch-Dest: empty"),
    ("Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: serviceworker"),
]


@attack("W3C Fetch Metadata; RFC 9700 section 4.16", ANSWER_ONLY_BY_NAVIGATION)
def test_what_a_page_loads_behind_its_person_ends_no_login(login: OpenLogin) -> None:
    target = login.approved()
    statuses = [login.get(target, "Sec-Fetch-Site: cross-site", *lines).status for lines in BEHIND_A_PAGE]
    refute(303 in statuses, "a login ended without a page that the person sees")
    assert set(statuses) == {403}
    login.ends_well()


@attack("RFC 9110 section 9.2.1; fetch standard, Sec-Purpose", NO_PREFETCH)
def test_a_browser_that_fetches_in_advance_does_not_approve_for_its_person(login: OpenLogin) -> None:
    target = login.approved()
    lines = ["Sec-Purpose: prefetch", "Sec-Purpose: prefetch;prerender", "Purpose: prefetch", "X-Moz: prefetch"]
    statuses = [login.get(target, *NAVIGATION, line).status for line in lines]
    refute(303 in statuses, "a prefetch ended the login")
    assert set(statuses) == {503}
    # And when the person opens it, the same address does.
    assert "You’re logged in" in login.browse(target, *NAVIGATION).page
    assert login.ended().error is None


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (*NAVIGATION, "Sec-Fetch-User: ?1"),
        ("Origin: null", "Upgrade-Insecure-Requests: 1", "Connection: keep-alive", "Cookie: a=b", "DNT: 1"),
    ],
)
def test_a_tab_is_let_in_whatever_its_browser_says_of_it(login: OpenLogin, lines: tuple[str, ...]) -> None:
    """Also one that says nothing: Safari before 16.4, lynx, and others on plain http."""
    assert "You’re logged in" in login.browse(login.approved(), *lines).page
    assert login.ended().error is None


# What is told to whom


@attack("RFC 8252 section 8.1; our own rule", SECRET_ADDRESS)
def test_how_a_login_ended_is_told_to_nobody_who_guesses_where(login: OpenLogin) -> None:
    told_to_nobody_but_its_browser(login, "/callback", "/callback/result", "/callback/result/")


@attack("RFC 8252 section 8.1; our own rule", SAME_ANSWER)
def test_how_a_login_ended_is_told_to_nobody_who_brings_another_answer(login: OpenLogin) -> None:
    told_to_nobody_but_its_browser(login, "/callback?code=x&state=x", f"{login.approved()}&x=y")


def told_to_nobody_but_its_browser(login: OpenLogin, *asked: str) -> None:
    """Another user of the machine finds the port in a list that the system gives to everybody."""
    led_to = login.get(login.approved()).headers["location"]
    seen: list[Said] = []
    for path in asked:
        with contextlib.suppress(OSError):
            seen.append(login.browse(path))
    refute(
        [said for said in seen if "mcp.example.com" in said.page or said.status == 303],
        "a stranger was told who logged in",
    )
    # Nor have they taken the page away from the one it is for.
    assert "mcp.example.com" in login.get(led_to).page


@attack("RFC 9700 sections 4.2.4 and 4.16; RFC 6749 section 10.13", HEADERS)
def test_every_answer_has_the_strict_headers(login: OpenLogin) -> None:
    target = login.approved()
    requests = [
        login.get("/callback?state=wrong"),
        login.get("/"),
        login.get("/callback", host="evil.example"),
        login.send("GET /callback HTTP/1.1\r\n\r\n"),
        login.send("nonsense\r\n\r\n"),
        login.get(f"/callback?{'x' * 70_000}"),
        login.get(target, method="HEAD"),
        login.get(target, method="OPTIONS"),
        login.get(target, method="POST"),
        login.get(target, "Sec-Fetch-Dest: iframe"),
        login.get(target, "Purpose: prefetch"),
        answer := login.get(target),
        login.get(answer.headers["location"]),
    ]
    assert [said.status for said in requests] == [400, 404, 421, 400, 400, 431, 200, 204, 405, 403, 503, 303, 200]
    missing = {
        f"{said.status} without {name}"
        for said in requests
        for name, value in STRICT.items()
        if not said.headers.get(name, "").startswith(value)
    }
    refute(missing, ", ".join(sorted(missing)))
    for said in requests:
        policy = said.headers["content-security-policy"]
        assert all(rule in policy for rule in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"))
        assert "script-src" not in policy
        assert not [name for name in said.headers if name.startswith("access-control-")]


def test_no_script_of_another_origin_may_read_an_answer(login: OpenLogin) -> None:
    """Also with what browsers ask before a request into a local network (Private Network Access)."""
    asks = ("Access-Control-Request-Method: GET", "Access-Control-Request-Private-Network: true")
    for origin in ("https://evil.example", "null"):
        preflight = login.get(login.approved(), f"Origin: {origin}", *asks, method="OPTIONS")
        assert preflight.status == 204
        assert not [name for name in preflight.headers if name.startswith("access-control-")]
    login.ends_well()


def test_nothing_of_a_request_comes_back_but_what_was_validated(login: OpenLogin) -> None:
    """Neither as a header (CR LF in whatever encoding) nor as text or markup, nor by a link."""
    marker = "zzmarkerzz"
    for target in (
        f"/callback?state={marker}&error={marker}&error_description=<script>{marker}</script>",
        f"/callback?state=x%0d%0aSet-Cookie:%20{marker}=1&code={marker}",
        f"/{marker}",
        f"/callback%0d%0aX:{marker}",
        f"/callback;{marker}?state={marker}",
    ):
        assert marker.encode() not in login.get(target, f"X-Forwarded-Host: {marker}", f"Referer: http://{marker}/").raw
    assert login.asked["state"] not in login.ends_well().raw.decode()


# One connection, one request


def test_what_follows_a_request_is_never_read_as_another(
    login: OpenLogin, parties: tuple[Resource, AuthorizationServer]
) -> None:
    """A form of a web page (enctype=text/plain) can say anything in its body; a pipelined request is the same to us."""
    target = login.target(code="hidden", state=login.asked["state"], iss=parties[1].issuer)
    hidden = f"GET {target} HTTP/1.1\r\nHost: {login.authority}\r\n\r\n"
    for length in (f"Content-Length: {len(hidden)}", "Transfer-Encoding: chunked", "Content-Length: 0"):
        said = login.get("/callback", length, "Content-Type: text/plain", method="POST", body=hidden)
        assert said.raw.count(b"HTTP/1.1 ") == 1
    login.ends_well()
    assert not parties[1].host.saw("hidden")


#: Requests that two readers could take for two different ones, or for none.
SPELT_IN_TWO_WAYS = [
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET {target} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n",
    "GET {target} HTTP/1.1\r\nHost: {host}\r\n Host: evil.example\r\n\r\n",
    "GET {target} HTTP/1.1\r\nHost : {host}\r\n\r\n",
    "GET {target} HTTP/1.1\r\nHost: {host}\r\nX: a\x00b\r\n\r\n",
    "GET {target} HTTP/0.9\r\n\r\n",
    "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET https://{host}{target} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://x@{host}{target} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET //{host}{target} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
]


def test_what_is_spelt_in_two_ways_brings_no_answer(login: OpenLogin) -> None:
    target = login.approved()
    for text in SPELT_IN_TWO_WAYS:
        assert login.send(text.format(target=target, host=login.authority)).status in (400, 404, 421), text
    login.ends_well()


def test_a_refusal_that_was_validated_is_shown_as_text_and_in_short(login: OpenLogin) -> None:
    """CVE-2025-58444, GHSA-gh95-xx4q-qch8: whoever may speak on the page speaks in words only."""
    words = "<img src=x onerror=alert(1)>\u202e&lt;b&gt;\x1b]8;;http://evil.example\x07" + "long " * 8_000
    state, issuer = login.asked["state"], login.url.issuer
    target = login.target(error="server_error", error_description=words, state=state, iss=issuer)
    page = login.browse(target, *NAVIGATION).page
    assert isinstance(login.ended().error, AuthorizationErrorResponse)
    [shown] = re.findall(r'<p class="detail" dir="auto">(.*?)</p>', page, re.DOTALL)
    assert "&lt;img" in shown
    assert not set("\u202e\x1b\x07") & set(page)
    assert len(shown) < 600
