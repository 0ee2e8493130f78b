"""The stand-in for a browser and the person before it, against the embedded server and a client's loopback listener."""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest

from mcp_login.testing import EmbeddedServer, Person
from tests.unit.testing.flow import VERIFIER, challenge_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Listener:
    """A client's redirect URI, and the queries that came to it."""

    redirect_uri: str
    queries: queue.Queue[dict[str, str]] = field(default_factory=queue.Queue)
    #: The page comes when this is set.
    page_comes: threading.Event = field(default_factory=threading.Event)

    def next(self) -> dict[str, str]:
        return self.queries.get(timeout=10)


@pytest.fixture
def listener() -> Iterator[Listener]:
    class Callback(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.queries.put(dict(parse_qsl(self.path.partition("?")[2])))
            found.page_comes.wait(10)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"You may close this window.")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Callback) as http:
        found = Listener(f"http://127.0.0.1:{http.server_port}/callback")
        found.page_comes.set()
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        http.shutdown()
        thread.join()


def authorization_url(server: EmbeddedServer, listener: Listener, client_id: str) -> str:
    params = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": listener.redirect_uri,
        "state": "right",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
        "resource": server.resource,
        "scope": "mcp",
    }
    return f"{server.endpoint('authorize')}?{urlencode(params)}"


@contextmanager
def asked(listener: Listener, *, auto_approve: bool = False) -> Iterator[str]:
    """The authorization URL of a client that is registered at a running server."""
    server = EmbeddedServer(auto_approve=auto_approve, separate_authorization_server=True)
    with server.run():
        metadata = {"redirect_uris": [listener.redirect_uri], "application_type": "native"}
        answer = httpx.post(server.endpoint("register"), json=metadata, trust_env=False)
        yield authorization_url(server, listener, answer.json()["client_id"])


@pytest.mark.parametrize("auto_approve", [False, True])
def test_who_approves_sends_a_code(listener: Listener, auto_approve: bool) -> None:
    with asked(listener, auto_approve=auto_approve) as url:
        person = Person.approves()
        assert person(url) is True
        answer = listener.next()
        person.join()
    assert answer["state"] == "right"
    assert answer["code"]
    assert person.urls == [url]
    assert [(page.status, page.text) for page in person.pages] == [(200, "You may close this window.")]
    assert not person.failures


def test_who_denies_sends_an_error(listener: Listener) -> None:
    with asked(listener) as url:
        Person.denies()(url)
        answer = listener.next()
    assert (answer["error"], answer["state"]) == ("access_denied", "right")


@pytest.mark.parametrize("auto_approve", [False, True])
def test_who_closes_the_window_sends_nothing(listener: Listener, auto_approve: bool) -> None:
    with asked(listener, auto_approve=auto_approve) as url:
        person = Person.closes_the_window()
        person(url)
        person.join()
    assert len(person.pages) == 1
    assert listener.queries.empty()


def test_who_is_slow_waits_for_the_event(listener: Listener) -> None:
    go_on = threading.Event()
    with asked(listener) as url:
        person = Person.is_slow(go_on)
        assert person(url) is True
        assert not person.pages
        assert listener.queries.empty()
        go_on.set()
        assert listener.next()["code"]
        person.join()


def test_a_page_that_is_being_loaded_is_waited_for(listener: Listener) -> None:
    """The client has its answer before the person sees the page, and a test looks at once."""
    listener.page_comes.clear()
    with asked(listener) as url:
        person = Person.approves()
        person(url)
        assert listener.next()["code"]
        threading.Timer(0.2, listener.page_comes.set).start()
        assert [page.status for page in person.pages] == [200]


def test_who_is_attacked_sends_a_wrong_state_first(listener: Listener) -> None:
    with asked(listener) as url:
        person = Person.is_attacked()
        person(url)
        first, second = listener.next(), listener.next()
        person.join()
    assert first == {"code": "forged", "state": "forged"}
    assert second["state"] == "right"


def test_a_server_in_process_is_reached_without_a_socket(listener: Listener) -> None:
    server = EmbeddedServer()
    person = Person.approves(server=server)
    with asked(listener) as elsewhere:
        # The same client is unknown here: an error page, and nobody is redirected.
        person(elsewhere.replace(elsewhere.partition("/authorize")[0], server.issuer))
        person.join()
    assert [page.status for page in person.pages] == [400]
    assert server.requests.endpoints == ["authorization"]


def test_what_can_not_be_reached_is_a_failure_and_no_exception() -> None:
    person = Person.approves()
    person("file:///etc/passwd")
    person("http://127.0.0.1:1/authorize")
    person.join()
    assert not person.pages
    assert [type(failure).__name__ for failure in person.failures] == ["ValueError", "URLError"]


def test_neither_person_nor_page_shows_a_secret_when_printed(listener: Listener) -> None:
    with asked(listener) as url:
        person = Person.approves()
        person(url)
        code = listener.next()["code"]
        person.join()
    assert code not in repr((person, person.pages))
    assert "right" not in repr((person, person.pages))


def test_what_an_error_page_repeats_of_the_request_is_not_told() -> None:
    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(400)
            self.end_headers()
            self.wfile.write(f"<style>p {{}}</style><p>Bad <b>state</b>: {self.path}</p>".encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        person = Person()
        reason = person.visit(f"http://127.0.0.1:{http.server_port}/?state=mine&code_challenge=hashed&scope=mcp")
        http.shutdown()
        thread.join()
    told = "/?state=***&code_challenge=***&scope=mcp"
    assert reason == f'the person saw a page that leads nowhere, HTTP 400: "Bad state : {told}"'
    assert "p {}" not in person.pages[0].words


def test_a_visit_says_whether_the_browser_came_back(listener: Listener) -> None:
    with asked(listener) as url:
        assert Person.approves().visit(url) is None
        assert Person.denies().visit(url) is None
        assert Person.is_attacked().visit(url) is None
        assert Person.closes_the_window().visit(url) == "the person closed the window"
    assert listener.queries.qsize() == 4


def test_who_is_absent_opens_nothing() -> None:
    person = Person("absent")
    assert person("http://127.0.0.1:1/") is False
    assert not person.is_present
    assert not person.urls


def test_who_leaves_closes_a_window_that_is_still_open(listener: Listener) -> None:
    with asked(listener) as url:
        person = Person.is_slow()
        person(url)
        person.leave()
    assert len(person.pages) == 1
    assert listener.queries.empty()


def test_who_leaves_before_being_told_to_answer_opens_nothing(listener: Listener) -> None:
    with asked(listener) as url:
        person = Person.is_slow(threading.Event())
        person(url)
        person.leave()
    assert [str(failure) for failure in person.failures] == ["the person was never told to answer"]
    assert not person.pages


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """The port of something that says `answer` to every request, whatever that is."""

    class Raw(StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with ThreadingTCPServer(("127.0.0.1", 0), Raw) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-code=secret\r\n", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncode=secret", "IncompleteRead"),
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\ncode=secret", "IncompleteRead"),
        (b"HTTP/1.1 302 Found\r\nLocation: /a page?code=secret\r\nContent-Length: 0\r\n\r\n", "InvalidURL"),
    ],
)
def test_an_answer_that_is_no_http_is_a_failure_that_quotes_none_of_it(answer: bytes, why: str) -> None:
    person = Person()
    with answering(answer) as port:
        reason = person.visit(f"http://127.0.0.1:{port}/authorize?state=mine")
    told = f"the address can't be opened, or its answer isn't HTTP ({why})"
    assert reason == f"the browser failed with OSError: {told}"
    assert [str(failure) for failure in person.failures] == [told]
