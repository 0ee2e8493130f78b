"""Servers that do as a test says, without any decency: endless bodies, drips, lies. The embedded server has better manners."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["Answer", "Asked", "Stranger", "open_stranger"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said: `body` as it is, as JSON, or part by part until the other side has enough."""

    status: int = 200
    body: bytes | dict[str, Any] | Iterable[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Stranger:
    """A server at `host`:`port`. `connections` counts who came, `asked` is what it was asked, `sent` how many bytes of unfinished
    bodies it got rid of.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.answer: Callable[[Asked], Answer] = lambda _: Answer(404)
        self.connections = 0
        self.asked: list[Asked] = []
        self.sent = 0
        self.over = threading.Event()

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.port}"

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]


@contextlib.contextmanager
def open_stranger(*, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Stranger]:
    """A stranger on loopback until the block ends."""

    class Conversation(BaseHTTPRequestHandler):
        timeout = 10

        def answer(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, path, dict(parse_qsl(query)), headers, body)
            stranger.asked.append(asked)
            answer = stranger.answer(asked)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.say(answer.body)

        do_GET = do_POST = answer  # noqa: N815 - the base class's names

        def say(self, body: bytes | dict[str, Any] | Iterable[bytes]) -> None:
            if isinstance(body, dict):
                self.send_header("Content-Type", "application/json")
                body = json.dumps(body).encode()
            if isinstance(body, bytes):
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            self.end_headers()
            for part in body:
                self.wfile.write(part)
                stranger.sent += len(part)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def finish_request(self, request: socket.socket | tuple[bytes, socket.socket], address: Any) -> None:
            assert not isinstance(request, tuple)
            stranger.connections += 1
            request.settimeout(10)
            # Clients that have enough, or that don't trust the certificate, are what these tests are about.
            with contextlib.suppress(OSError):
                if tls is None:
                    Conversation(request, address, self)
                    return
                with tls.wrap_socket(request, server_side=True) as secured:
                    Conversation(secured, address, self)

    class Server6(Server):
        address_family = socket.AF_INET6

    server = (Server6 if ":" in host else Server)((host, 0), Conversation)
    stranger = Stranger(host, server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stranger
    finally:
        stranger.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
