"""The same listener, and Chromium as the person's browser: what a web page in it can do, and what it keeps.

Everything is on loopback, each party on a port, so an origin, of its own. `real`: skipped where there is no Chromium.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.wait import WebDriverWait

from tests.flows.strangers import Answer, Asked
from tests.hostile.attack import attack, refute
from tests.hostile.open_login import OpenLogin
from tests.hostile.parties import AuthorizationServer, Resource
from tests.hostile.switches.listener import (
    ANSWER_ONLY_BY_NAVIGATION,
    LED_AWAY,
    NO_PREFETCH,
)
from tests.real.chromium import Desk, desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

    from tests.hostile.world import World

__all__: list[str] = []

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

#: Seconds for a page to come, on a busy machine.
LIMIT = 20.0


@pytest.fixture
def person() -> Iterator[Desk]:
    """Where somebody sits whose browser is Chromium."""
    with desk() as somebody:
        yield somebody


@contextmanager
def opened(world: World) -> Iterator[tuple[OpenLogin, AuthorizationServer]]:
    """A login at a server of this machine, whose person looks at its page."""
    host = world.service()
    server = AuthorizationServer(host)
    with OpenLogin(world, Resource(host, server), server, callback_timeout=LIMIT) as login:
        yield login, server


def page(text: str) -> Answer:
    return Answer(body=f"<!doctype html><title>Hello</title>{text}".encode(), headers={"Content-Type": "text/html"})


def see(driver: Chrome, title: str) -> None:
    """Wait for the page with this title."""
    WebDriverWait(driver, LIMIT, poll_frequency=0.02).until(expected.title_is(title))


def history(driver: Chrome) -> list[str]:
    """The addresses that the back button leads to, and the present one."""
    entries = driver.execute_cdp_cmd("Page.getNavigationHistory", {})["entries"]
    return [entry["url"] for entry in entries]


@attack("RFC 9700 section 4.3.1; RFC 8252 section 8.1", LED_AWAY)
def test_neither_history_nor_address_bar_keep_the_code(world: World, person: Desk) -> None:
    """Who sits down at the browser later, and extensions that read addresses, find none."""
    with opened(world) as (login, server):
        driver = person.open(login.url)
        login.ended()
        kept = [*history(driver), driver.current_url, driver.page_source]
        [code] = server.given["code"]
        refute([text for text in kept if code in text], "the browser keeps the code")
        see(driver, "You’re logged in")
        assert driver.execute_script("return history.length") <= 2
        assert driver.get_log("browser") == []  # type: ignore[no-untyped-call]


#: All the ways of a page to send a request to another origin, but for leaving for it. Says when each has been tried.
EVERY_WAY = """
<iframe name=hidden hidden></iframe><form method=post target=hidden action="{url}"><input name=a></form>
<script>
const url = "{url}", ways = [
  fetch(url, {{mode: "no-cors", credentials: "include"}}), fetch(url), fetch(url, {{method: "POST", mode: "no-cors"}}),
  ...["img", "script", "iframe", "object", "video", "embed"].map(tag => new Promise(done => {{
    const one = document.createElement(tag);
    one.onload = one.onerror = done;
    one[tag === "object" ? "data" : "src"] = url;
    document.body.append(one);
    setTimeout(done, 300);
  }})),
  ...["prefetch", "preload", "stylesheet"].map(rel => new Promise(done => {{
    const link = document.createElement("link");
    link.onload = link.onerror = done;
    Object.assign(link, {{rel, as: "script", href: url}});
    document.head.append(link);
    setTimeout(done, 300);
  }})),
];
navigator.sendBeacon(url, "x");
document.forms[0].submit();
const isRead = way => ["basic", "cors"].includes(way.value?.type);
Promise.allSettled(ways).then(seen => document.title = seen.some(isRead) ? "Read" : "Tried");
</script>"""


@attack("RFC 9700 section 4.7.1; W3C Fetch Metadata", ANSWER_ONLY_BY_NAVIGATION)
def test_a_page_ends_no_login_without_leading_there(world: World, person: Desk) -> None:
    """It knows all that there is to know, `state` included: a hostile authorization server, or a script on a good one."""
    with opened(world) as (login, server):
        attacker = world.service()
        url = f"http://{login.authority}{login.approved()}"
        attacker.answer = lambda _: page(EVERY_WAY.format(url=url))
        driver = person.open(attacker.origin)
        see(driver, "Tried")
        refute("/token" in server.host.paths(), "the login went on behind the person's back")
        driver.get(url)
        see(driver, "You’re logged in")
        assert login.ended().error is None


@attack("RFC 9110 section 9.2.1; fetch standard, Sec-Purpose", NO_PREFETCH)
def test_a_link_that_is_fetched_in_advance_works_when_it_is_opened(world: World, person: Desk) -> None:
    """A consent page whose button is a link to the redirect URI: browsers fetch it before anybody has said yes."""
    with opened(world) as (login, server):
        url = f"http://{login.authority}{login.approved()}"
        fetched = threading.Event()
        rules = f'{{"prefetch": [{{"urls": ["{url}"], "eagerness": "immediate"}}]}}'
        done = "fetch('/done')"

        def consent(asked: Asked) -> Answer:
            if asked.path == "/done":
                fetched.set()
                return Answer(204)
            return page(
                f'<script type="speculationrules">{rules}</script>'
                f'<link rel=prefetch href="{url}" onload="{done}" onerror="{done}"><a href="{url}">Allow</a>'
            )

        went_on = threading.Event()

        def exchange(asked: Asked) -> Answer:
            went_on.set()
            return server.token(asked)

        server.on["/token"] = exchange
        site = world.service()
        site.answer = consent
        driver = person.open(site.origin)
        see(driver, "Hello")
        assert fetched.wait(LIMIT), "nothing was fetched in advance"
        # It comes soon after; that it doesn't come at all can't be waited for.
        refute(went_on.wait(0.3 if world.defended else LIMIT), "the login went on before the person has said yes")
        driver.find_element(By.TAG_NAME, "a").click()
        see(driver, "You’re logged in")
        assert login.ended().error is None
