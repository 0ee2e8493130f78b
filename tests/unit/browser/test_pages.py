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

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.browser.pages import CONTENT_SECURITY_POLICY, Outcome, render, render_refusal

PAGES = [
    *(render(outcome) for outcome in Outcome),
    *map(render_refusal, (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST)),
]


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


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_its_language_title_and_main_part(page: bytes) -> None:
    outline = Outline(page)
    assert outline.attributes["html", "lang"] == "en"
    assert outline.text["title"].strip() == outline.text["h1"].strip()
    assert outline.tags.count("h1") == outline.tags.count("main") == 1
    assert outline.attributes["svg", "aria-hidden"] == "true"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_script_and_loads_nothing(page: bytes) -> None:
    outline = Outline(page)
    assert not {"script", "link", "img", "iframe", "form", "a", "object"} & set(outline.tags)
    assert not {"src", "href", "style", "action", "http-equiv"} & {name for _, name in outline.attributes}
    assert not [name for _, name in outline.attributes if name.startswith("on")]
    assert b"url(" not in page
    assert b"@import" not in page


@pytest.mark.parametrize("page", PAGES)
def test_the_policy_allows_the_style_of_a_page_by_its_hash_and_nothing_else(page: bytes) -> None:
    style = re.search(rb"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1]).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert "frame-ancestors 'none'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY


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
