"""axe-core in Chromium finds no fault on any page of this package, and leaves nothing undecided.

Light and dark, narrow and wide; every page is served with its real header fields. Beside WCAG 2.2 A and AA, and axe's
best practices: no page scrolls sideways at 320 pixels or at a font of twice the size (success criteria 1.4.10, 1.4.4),
none says anything on the console, and none asks any server for more than itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.real import parts
from tests.real.chromium import desk
from tests.real.screenshots import PAGES, SCHEMES, WIDTHS, see_as, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

    from tests.real.screenshots import PageServer

__all__: list[str] = []

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

BAD = b"""HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<!doctype html><html><head><title></title>
<style>p { color: #999; background: #fff; width: 900px; }</style></head>
<body><h3>Logged in</h3><p>You can close this tab.</p><img src="/elsewhere.png"><button></button></body></html>"""


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    """All pages, and `bad`, which has every fault that is looked for."""
    with serve({**PAGES, "bad": BAD}) as running:
        yield running


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    """One browser for all tests here: pages keep nothing."""
    parts.need("axe-core")
    with desk() as person:
        yield person.open("about:blank")


def faults(driver: Chrome) -> list[str]:
    """What axe has to say of the page that is shown. What it leaves undecided counts, too: nothing has to be accepted."""
    # WebDriver's scripts are not the page's: its policy doesn't stop them.
    driver.execute_script(parts.need("axe-core").read_text(encoding="utf-8"))
    run = (
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {runOnly: arguments[0], resultTypes: ['violations', 'incomplete']})"
        ".then(done, error => done({error: String(error)}));"
    )
    found: dict[str, Any] = driver.execute_async_script(run, RULES)
    assert "error" not in found, found["error"]
    # A rule that looked at nothing finds nothing.
    assert {"color-contrast", "html-has-lang", "landmark-one-main"} <= {
        rule["id"] for kind in ("passes", "violations", "incomplete") for rule in found[kind]
    }
    return [
        f"{rule['id']}: {node['html']} {node.get('failureSummary', '')}"
        for kind in ("violations", "incomplete")
        for rule in found[kind]
        for node in rule["nodes"]
    ]


def open_page(driver: Chrome, server: PageServer, name: str) -> None:
    """Show a page, and forget what was logged and asked before."""
    for kind in ("browser", "performance"):
        log_of(driver, kind)
    server.asked.clear()
    driver.get(f"{server.origin}/{name}")


def log_of(driver: Chrome, kind: str) -> list[dict[str, Any]]:
    """What was logged since the last look: `browser` is the console, `performance` all that happened."""
    entries: list[dict[str, Any]] = driver.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def requests(driver: Chrome) -> list[str]:
    """The addresses that the browser asked for since the page was opened, without those within the page."""
    events = [json.loads(entry["message"])["message"] for entry in log_of(driver, "performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith("data:")]


def scrolls_sideways(driver: Chrome) -> bool:
    return bool(
        driver.execute_script("const root = document.documentElement; return root.scrollWidth > root.clientWidth")
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_no_fault(driver: Chrome, server: PageServer, scheme: str, width: int) -> None:
    see_as(driver, scheme=scheme, width=width)
    found = {}
    for name in PAGES:
        open_page(driver, server, name)
        found[name] = faults(driver)
        assert not scrolls_sideways(driver), name
        # The colours are those of the scheme, and not only said to be.
        shade = driver.execute_script("return getComputedStyle(document.querySelector('main')).backgroundColor")
        assert (shade == "rgb(255, 255, 255)") is (scheme == "light"), name
    assert found == {name: [] for name in PAGES}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_for_nothing_but_itself_and_says_nothing_on_the_console(
    driver: Chrome, server: PageServer, name: str
) -> None:
    open_page(driver, server, name)
    assert requests(driver) == [f"{server.origin}/{name}"]
    assert server.asked == [f"/{name}"]
    # What the browser itself remarks of a status like 404 is no fault of the page.
    said = [
        entry for entry in log_of(driver, "browser") if not entry["message"].startswith(f"{server.origin}/{name} - ")
    ]
    assert said == []
    assert driver.execute_script("return document.styleSheets.length") == 1


def test_text_of_twice_the_size_fits_a_narrow_window(driver: Chrome, server: PageServer) -> None:
    see_as(driver, scheme="light", width=320)
    for name in PAGES:
        open_page(driver, server, name)
        driver.execute_script("document.documentElement.style.fontSize = '200%'")
        assert not scrolls_sideways(driver), name


def test_in_forced_colours_the_icon_keeps_its_outline(driver: Chrome, server: PageServer) -> None:
    see_as(driver, scheme="dark", width=1280, forced_colors="active")
    open_page(driver, server, "done-with-detail")
    border = driver.execute_script("return getComputedStyle(document.querySelector('svg')).borderTopWidth")
    assert border == "2px"
    assert faults(driver) == []


def test_nothing_moves(driver: Chrome, server: PageServer) -> None:
    """Nobody needs to say that they prefer reduced motion."""
    for name in ("done", "received", "consent"):
        open_page(driver, server, name)
        moving = "return document.getAnimations().length + document.querySelectorAll('animate, marquee, video').length"
        assert driver.execute_script(moving) == 0, name


def test_the_question_is_answered_with_the_keyboard(driver: Chrome, server: PageServer) -> None:
    see_as(driver, scheme="light", width=1280)
    open_page(driver, server, "consent")
    reached = []
    for _ in range(2):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        focused = driver.switch_to.active_element
        reached.append(focused.get_attribute("value"))
        assert focused.value_of_css_property("outline-style") == "solid"
        assert focused.value_of_css_property("outline-width") == "3px"
    assert reached == ["approve", "deny"]


def test_a_bad_page_would_be_found(driver: Chrome, server: PageServer) -> None:
    see_as(driver, scheme="light", width=320)
    open_page(driver, server, "bad")
    rules = {fault.partition(":")[0] for fault in faults(driver)}
    assert {"button-name", "color-contrast", "document-title", "html-has-lang", "image-alt", "region"} <= rules
    assert scrolls_sideways(driver)
    assert "/elsewhere.png" in server.asked
    assert f"{server.origin}/elsewhere.png" in requests(driver)
    assert log_of(driver, "browser")
    assert driver.find_elements(By.TAG_NAME, "main") == []
