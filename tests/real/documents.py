"""Client metadata documents, whose addresses are https, served on loopback: plainly, and with TLS."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.parse
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["DOCUMENTS_HOST", "DOCUMENTS_ORIGIN", "client_document", "documents_server", "tls_documents_server"]

#: Where the documents are said to be: no such host exists (RFC 6761 section 6.4).
DOCUMENTS_HOST = "agent.invalid"
DOCUMENTS_ORIGIN = f"https://{DOCUMENTS_HOST}"


def client_document(address: str, port: int, **more: Any) -> dict[str, Any]:
    """The document at `address` of a client whose redirect URI is on loopback at `port`."""
    return {
        "client_id": address,
        "client_name": "A documented agent",
        "redirect_uris": [f"http://127.0.0.1:{port}/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
        **more,
    }


@contextmanager
def documents_server(documents: Mapping[str, Any]) -> Iterator[str]:
    """The loopback origin where the `documents`, by their https addresses, are served as JSON, by their paths."""
    with _serving(documents, None) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def tls_documents_server(documents: Mapping[str, Any], folder: Path) -> Iterator[tuple[int, Path]]:
    """The same with TLS: its port, and the certificate authority of a client that trusts it, a file in `folder`."""
    authority = trustme.CA()
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(DOCUMENTS_HOST).configure_cert(certificate)
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    with _serving(documents, certificate) as port:
        yield port, trusted


@contextmanager
def _serving(documents: Mapping[str, Any], certificate: ssl.SSLContext | None) -> Iterator[int]:
    class Documents(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = [text for address, text in documents.items() if urllib.parse.urlsplit(address).path == self.path]
            body = json.dumps(found[0] if found else {"error": "not_found"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Documents) as server:
        if certificate is not None:
            server.socket = certificate.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(10)
