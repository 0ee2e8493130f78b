"""The check of the built site (tests/docs/site.py), on sites made here. The real one is built by tests/run.py ("docs")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.site import faults

if TYPE_CHECKING:
    from pathlib import Path

__all__: list[str] = []


def site(folder: Path, body: str) -> list[str]:
    folder.joinpath("other.html").write_text('<h1 id="here">Other</h1>')
    folder.joinpath("picture.svg").write_text("<svg/>")
    folder.joinpath("index.html").write_text(body)
    return faults(folder)


@pytest.mark.parametrize(
    "body",
    [
        '<a href="other.html">x</a>',
        '<a href="other.html#here">x</a>',
        '<a href="#top" id="top">x</a>',
        '<a href="https://example.com/">x</a>',
        '<img src="picture.svg">',
        '<img src="data:image/svg+xml,x">',
        '<link rel="canonical" href="https://example.com/">',
    ],
)
def test_what_is_there_is_no_fault(body: str, tmp_path: Path) -> None:
    assert site(tmp_path, body) == []


@pytest.mark.parametrize(
    "body",
    [
        '<a href="gone.html">x</a>',
        '<a href="other.html#gone">x</a>',
        '<a href="#gone">x</a>',
        '<a href="http://example.com/">x</a>',
        '<img src="gone.svg">',
        '<img src="https://example.com/a.svg">',
        '<script src="//example.com/a.js"></script>',
        '<link rel="stylesheet" href="https://example.com/a.css">',
        "<p style=\"background: url('https://example.com/a.png')\">x</p>",
    ],
)
def test_a_dead_link_and_a_foreign_resource_are_faults(body: str, tmp_path: Path) -> None:
    assert len(site(tmp_path, body)) == 1


@pytest.mark.parametrize(
    "style", ["@import 'https://example.com/a.css';", "p { background: url(https://example.com/a) }"]
)
def test_a_style_sheet_that_loads_from_elsewhere_is_a_fault(style: str, tmp_path: Path) -> None:
    tmp_path.joinpath("a.css").write_text(style)
    assert len(site(tmp_path, "<p>x</p>")) == 1


def test_no_page_at_all_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path) == ["no page was built"]
