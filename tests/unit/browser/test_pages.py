"""The pages of the loopback listener.

MCP specification, "Authorization Response Validation": on mismatch the client MUST NOT act on or display `error`,
`error_description`, or `error_uri`. What may be displayed is hostile text wherever it is shown (CVE-2025-58444,
GHSA-gh95-xx4q-qch8).
"""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.browser.look import headers
from mcp_login.browser.pages import Outcome, render, render_refusal
from mcp_login.testing.consent import consent_page, error_page

if TYPE_CHECKING:
    from starlette.responses import Response

PAGES = [
    *(render(outcome) for outcome in Outcome),
    *map(render_refusal, (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST)),
]


def question(**given: str) -> Response:
    """The embedded server's consent page."""
    usual = {
        "client_name": "Client",
        "resource": "https://mcp.example.com/mcp",
        "redirect_uri": "http://127.0.0.1:4000/callback",
        "action": "/consent",
        "transaction": "transaction",
    }
    return consent_page(**{**usual, **given}, scopes=("mcp",))


SERVERS_PAGES = [question(), error_page("The client is unknown.")]


class Outline(HTMLParser):
    """The elements, attributes and visible text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[tuple[str, str], str | None] = {}
        self.text: dict[str, str] = {}
        self._within = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update({(tag, name): value for name, value in attrs})
        if tag != "wbr":
            self._within = dict(attrs).get("class") or tag

    def handle_data(self, data: str) -> None:
        self.text[self._within] = self.text.get(self._within, "") + data


def whole(page: bytes | Response) -> bytes:
    return page if isinstance(page, bytes) else bytes(page.body)


@pytest.mark.parametrize("page", [*PAGES, *SERVERS_PAGES])
def test_a_page_names_its_language_title_and_main_part(page: bytes | Response) -> None:
    outline = Outline(whole(page))
    assert outline.attributes["html", "lang"] == "en"
    assert outline.text["title"].strip() == outline.text["h1"].strip()
    assert outline.tags.count("h1") == outline.tags.count("main") == 1
    assert outline.attributes["svg", "aria-hidden"] == "true"


@pytest.mark.parametrize("page", [*PAGES, *SERVERS_PAGES])
def test_a_page_has_no_script_and_loads_nothing(page: bytes | Response) -> None:
    text = whole(page)
    outline = Outline(text)
    assert not {"script", "img", "iframe", "a", "object"} & set(outline.tags)
    assert not {"src", "style", "http-equiv"} & {name for _, name in outline.attributes}
    assert not [name for _, name in outline.attributes if name.startswith("on")]
    # The icon is in the page itself, so that no browser asks for one.
    assert outline.tags.count("link") == 1
    assert outline.attributes["link", "rel"] == "icon"
    assert (outline.attributes["link", "href"] or "").startswith("data:image/svg+xml,")
    assert b"url(" not in text
    assert b"@import" not in text


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_the_listener_has_no_form(page: bytes) -> None:
    assert "form" not in Outline(page).tags
    assert "form-action 'none'" in headers()["Content-Security-Policy"]


@pytest.mark.parametrize("page", [*PAGES, *SERVERS_PAGES])
def test_the_policy_allows_the_style_of_a_page_by_its_hash_and_nothing_else(page: bytes | Response) -> None:
    style = re.search(rb"<style>(.*?)</style>", whole(page), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1]).digest()).decode()
    policy = (headers() if isinstance(page, bytes) else page.headers)["Content-Security-Policy"]
    allowed = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert allowed.pop("form-action").split()[0] in ("'none'", "'self'")
    assert allowed == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }


@pytest.mark.parametrize("page", SERVERS_PAGES)
def test_the_servers_pages_are_kept_and_framed_by_nobody(page: Response) -> None:
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_the_form_of_the_question_leads_to_the_server_and_on_to_the_redirect_uri_only() -> None:
    policy = question().headers["Content-Security-Policy"]
    assert "form-action 'self' http://127.0.0.1:4000;" in policy


@pytest.mark.parametrize("name", ["client_name", "resource", "transaction", "action"])
def test_a_strangers_words_in_the_question_are_shown_as_text(name: str) -> None:
    page = question(**{name: "\"><script>alert('x')</script> ${style}"})
    assert "script" not in Outline(whole(page)).tags


def test_the_question_says_that_nothing_behind_it_is_real() -> None:
    assert "Test server" in Outline(whole(question())).text["test"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_colours_for_light_and_dark(page: bytes) -> None:
    assert b'<meta name="color-scheme" content="light dark">' in page
    assert b"@media (prefers-color-scheme: dark)" in page
    assert b"width=device-width" in page


def test_each_outcome_has_words_of_its_own() -> None:
    assert len({Outline(render(outcome)).text["h1"] for outcome in Outcome}) == len(Outcome)


def test_markup_in_the_detail_is_shown_as_text() -> None:
    outline = Outline(render(Outcome.FAILED, "<script>alert('x')</script> & \"more\""))
    assert "script" not in outline.tags
    assert outline.text["detail"].strip() == "<script>alert('x')</script> & \"more\""


def test_a_placeholder_in_the_detail_is_shown_as_text() -> None:
    assert "$style ${title} $$" in Outline(render(Outcome.FAILED, "$style ${title} $$")).text["detail"]


def test_characters_that_turn_the_direction_of_text_are_not_shown() -> None:
    page = render(Outcome.DONE, "moc.elpmaxe\u202e\u2066\x1b[31m").decode()
    assert not {"\u202e", "\u2066", "\x1b"} & set(page)


def test_a_long_detail_is_cut() -> None:
    assert len(Outline(render(Outcome.FAILED, "x" * 5000)).text["detail"].strip()) == 300


@pytest.mark.parametrize("empty", [None, "", " \n", "\u200b"])
def test_an_empty_detail_leaves_no_box(empty: str | None) -> None:
    assert b'class="detail"' not in render(Outcome.DONE, empty)


@given(st.text(), st.sampled_from(Outcome))
def test_no_detail_adds_an_element_or_breaks_the_page(detail: str, outcome: Outcome) -> None:
    tags = [tag for tag in Outline(render(outcome, detail)).tags if tag != "wbr"]
    assert tags in (Outline(render(outcome)).tags, Outline(render(outcome, "x")).tags)
