"""Every page of this package, as it is sent; and pictures of them, which whoever changes a page looks at.

`python -m tests.real.screenshots FOLDER`               all, in light and dark, 320 and 1280 pixels wide
`python -m tests.real.screenshots docs/images --docs`   those of the documents
"""

from __future__ import annotations

import base64
import contextlib
import socketserver
import struct
import sys
import threading
import zlib
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import h11

from mcp_login.browser.exchange import Answer, encode, refusal
from mcp_login.browser.pages import Outcome, render
from mcp_login.testing.consent import consent_page, error_page
from tests.real.chromium import desk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from selenium.webdriver import Chrome
    from starlette.responses import Response

__all__ = ["PAGES", "SCHEMES", "WIDTHS", "PageServer", "see_as", "serve", "take"]

SCHEMES = ("light", "dark")
WIDTHS = (320, 1280)

_LONG = "https://authorization.example.com/" + "a-very-long-path/" * 6 + "x" * 90
_DETAILS = {
    Outcome.DONE: "Field notes is now logged in to mcp.example.com.",
    Outcome.DENIED: "auth.example.com answered “access_denied”: The person said no.",
    Outcome.FAILED: "auth.example.com answered “invalid_grant”: The code is unknown, expired or used.",
}


def _sent(answer: Answer) -> bytes:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    connection.next_event()
    return encode(connection, answer)


def _of_starlette(response: Response) -> bytes:
    head = b"".join(b"%s: %s\r\n" % pair for pair in response.raw_headers)
    return b"HTTP/1.1 %d x\r\n%sConnection: close\r\n\r\n%s" % (response.status_code, head, bytes(response.body))


def _consent(client_name: str, *scopes: str) -> bytes:
    return _of_starlette(
        consent_page(
            client_name=client_name,
            resource="http://127.0.0.1:49152/mcp",
            scopes=scopes,
            redirect_uri="http://127.0.0.1:49153/callback",
            action="/consent",
            transaction="transaction",
        )
    )


#: Every page that a person can see, by a name of its own: the bytes of the answer, with the real header fields.
PAGES: Mapping[str, bytes] = {
    **{outcome.value: _sent(Answer(HTTPStatus.OK, render(outcome))) for outcome in Outcome},
    **{
        f"{outcome.value}-with-detail": _sent(Answer(HTTPStatus.OK, render(outcome, _DETAILS.get(outcome, _LONG))))
        for outcome in Outcome
    },
    "failed-with-long-detail": _sent(Answer(HTTPStatus.OK, render(Outcome.FAILED, _LONG))),
    "refusal-400": _sent(refusal(HTTPStatus.BAD_REQUEST)),
    "refusal-404": _sent(refusal(HTTPStatus.NOT_FOUND)),
    "consent": _consent("Field notes", "mcp", "files:read"),
    "consent-without-scopes": _consent("Field notes"),
    "consent-with-long-names": _consent("W" * 120, "s" * 100, *(f"files:{number}" for number in range(12))),
    "consent-error": _of_starlette(error_page("The redirect URI is not one that the client has registered.")),
}


class PageServer(socketserver.ThreadingTCPServer):
    """Sends `pages` by their paths; `asked` are the paths that anybody asked for."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.pages = pages
        self.asked: list[str] = []

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Exchange(socketserver.StreamRequestHandler):
    server: PageServer

    def handle(self) -> None:
        line = self.rfile.readline().decode("latin-1").split(" ")
        while self.rfile.readline().strip():
            pass
        if len(line) == 3:  # else a connection that was opened in advance
            self.server.asked.append(line[1])
            self.wfile.write(self.server.pages.get(line[1].removeprefix("/"), _sent(refusal(HTTPStatus.NOT_FOUND))))


@contextlib.contextmanager
def serve(pages: Mapping[str, bytes] = PAGES) -> Iterator[PageServer]:
    """A server of `pages` on loopback: `origin` is where it is."""
    with PageServer(pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def see_as(driver: Chrome, *, scheme: str, width: int, height: int = 720, **features: str) -> None:
    """From now on the window has this size in pixels, and the person prefers the colour `scheme`.

    `features` are other media features, for example `forced_colors="active"`.
    """
    preferred = {"prefers-color-scheme": scheme, **{name.replace("_", "-"): value for name, value in features.items()}}
    pairs = [{"name": name, "value": value} for name, value in preferred.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": pairs})
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def take(driver: Chrome, path: Path) -> None:
    """A picture of the whole page."""
    size = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    picture = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.write_bytes(base64.b64decode(picture["data"]))


def _packed(picture: bytes) -> bytes:
    """The same PNG, smaller: browsers compress in a hurry. (PNG specification, section 5.3: length, type, data, CRC.)"""
    chunks, at = [], 8
    while at < len(picture):
        length, kind = struct.unpack(">I4s", picture[at : at + 8])
        chunks.append((kind, picture[at + 8 : at + 8 + length]))
        at += 12 + length
    pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    kept = {b"IHDR": chunks[0][1], b"IDAT": zlib.compress(pixels, 9), b"IEND": b""}
    return picture[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in kept.items()
    )


def _all(driver: Chrome, server: PageServer, folder: Path) -> None:
    for scheme in SCHEMES:
        for width in WIDTHS:
            see_as(driver, scheme=scheme, width=width)
            for name in PAGES:
                driver.get(f"{server.origin}/{name}")
                take(driver, folder / f"{name}-{scheme}-{width}.png")


def _of_documents(driver: Chrome, server: PageServer, folder: Path) -> None:
    for scheme in SCHEMES:
        # Small enough to be read beside text, and for a repository.
        see_as(driver, scheme=scheme, width=720, height=500)
        for outcome in (Outcome.DONE, Outcome.DENIED):
            driver.get(f"{server.origin}/{outcome.value}-with-detail")
            path = folder / f"page-{outcome.value}-{scheme}.png"
            take(driver, path)
            path.write_bytes(_packed(path.read_bytes()))


def main(folder: Path, *, for_documents: bool) -> None:
    """Write the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with serve() as server, desk() as person:
        (_of_documents if for_documents else _all)(person.open("about:blank"), server, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), for_documents="--docs" in sys.argv[2:])
