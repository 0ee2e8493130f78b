"""Targets: what is read back from keychains and files, which other programs and crashes may have changed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from mcp_login.cli.announcement import known_issuers
from mcp_login.cli.output import list_document, login_member
from mcp_login.storage.ended import begin_anew, note_ended, was_ended
from mcp_login.storage.envelope import seal, seal_parts, unseal, utf16_units
from mcp_login.storage.file import FileStorage
from mcp_login.storage.index import Index
from mcp_login.storage.lifetime import is_good, is_in_doubt, margin, seconds_left
from mcp_login.storage.paths import data_path, lock_path, note_path, state_path
from mcp_login.storage.record import Record, dump_client, parse_client
from mcp_login.storage.spent import is_spent, note_tokens

from .checks import is_clean, judged, text_of

__all__ = ["client_information", "ended", "envelope", "home_of", "index", "record", "spent"]

#: What a stored text may hold that no error may quote.
SECRET = "mF_9.B5f-4.1JqM-tGzv3JOkF0XG5Qx2TlKWIA"
NOW = 1_800_000_000.0
LOGIN = (
    '{"format": 1, "server_url": "https://mcp.example.com", "resource": "https://mcp.example.com", "issuer": "https://a.example",'
    ' "token_endpoint": "https://a.example/token", "access_token": "2YotnFZFEjr1zCsicMWpAA", "obtained_at": 1790000000.5,'
    ' "client": {"issuer": "https://a.example", "client_id": "app", "mechanism": "dynamic"}}'
)


def record(data: bytes) -> None:
    """A stored login."""
    with judged(SECRET):
        found = Record.parse(text_of(data))
        written = found.dump()
        assert Record.parse(written) == found
        assert written.isascii()
        assert repr(found) == repr(
            replace(found, access_token="another", refresh_token="another", extra={"x": "another"})
        )
        assert found.client.issuer == found.issuer
        assert is_good(found, 0.0, NOW) in (True, False)
        assert is_in_doubt(found, NOW) in (True, False)
        assert margin(found, 1.0) >= 0
        assert seconds_left(found, NOW) is not None
        json.dumps(login_member(found, "file", NOW), allow_nan=False)


def client_information(data: bytes) -> None:
    """A stored registration."""
    with judged(SECRET):
        found = parse_client(text_of(data))
        assert parse_client(dump_client(found)) == found
        if found.redirect_uri is not None:
            # The listener is opened there again.
            assert urlsplit(found.redirect_uri).hostname
            assert (urlsplit(found.redirect_uri).port or 0) < 65536


def envelope(data: bytes) -> None:
    """The wrapping of stored values: the stored texts of a value, parted by zero bytes, then the same for a new value."""
    first, *others = text_of(data).split("\x00")
    key = "https://mcp.example.com"
    parts = dict(enumerate(others, 2))
    for more in (None, lambda _generation, number: parts.get(number)):
        with judged(SECRET):
            found = unseal(first, key=key, more=more)
            assert found.generation > 0
            assert found.parts == 1 or more is not None
            assert seal(found.payload, key=key, generation=found.generation) or found.parts > 1
            assert repr(found) == repr(found._replace(payload="another"))
    with judged(SECRET):
        limit = 100 + len(data) % 50
        sealed = seal_parts(first, key=key, generation=len(data) + 1, limit=limit)
        assert all(utf16_units(text) <= limit for text in sealed)
        again = unseal(sealed[0], key=key, more=lambda _generation, number: sealed[number - 1])
        assert again == (first, len(data) + 1, len(sealed))


def home_of(process: int) -> Path:
    """Where the targets of that process keep their files: in memory, if there is such a file system, as they write thousands."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it is made for its owner alone
    folder = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    return folder / f"mcp-login-fuzz-{process}"


def _at_home() -> None:
    os.environ["MCP_LOGIN_HOME"] = str(home_of(os.getpid()))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)


def index(data: bytes) -> None:
    """The list of logins, and what the command line makes of it."""
    _at_home()
    path = data_path() / "index.json"
    _write(path, data)
    with judged(SECRET):
        entries = Index().entries()
        document = json.dumps(list_document(entries), allow_nan=False)
        assert document.isascii()
        assert all(isinstance(host, str) for host, _ in known_issuers())
        for entry in entries:
            assert isinstance(entry.key, str)
            Index().put(entry)
        assert {one.identity for one in Index().entries()} == {one.identity for one in entries}
        for entry in entries[:3]:
            Index().remove(entry.key, entry.storage)


def ended(data: bytes) -> None:
    """The note of logins that somebody has ended."""
    _at_home()
    storage, key = FileStorage(), "https://mcp.example.com"
    path = note_path(storage, key, "ended")
    login = Record.parse(LOGIN)
    _write(path, data)
    assert was_ended(storage, key, login) in (True, False)
    note_ended(storage, key, login, at=login.obtained_at)
    assert was_ended(storage, key, login)
    kept = path.read_text(encoding="ascii").splitlines()
    assert 1 <= len(kept) <= 33
    assert all(len(line) <= 64 and is_clean(line) for line in kept)
    begin_anew(storage, key, [login])
    assert not was_ended(storage, key, login)


def spent(data: bytes) -> None:
    """The notes of refresh tokens that were used up."""
    _at_home()
    key, used = "https://mcp.example.com", "tGzv3JOkF0XG5Qx2TlKWIA"
    path = lock_path(state_path() / "locks", key, "spent")
    _write(path, data)
    known = hashlib.sha256(used.encode()).hexdigest().encode() in data
    assert not is_spent(key, used) or known
    note_tokens(key, spent=used, fresh=None)
    assert is_spent(key, used)
    kept = path.read_text(encoding="ascii").splitlines()
    assert 1 <= len(kept) <= 64
    assert all(len(line) == 64 and is_clean(line) for line in kept)
