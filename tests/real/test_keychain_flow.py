"""Three processes and one login in a real keychain: what a person does once serves every later process.

DESIGN, "A second process that constructs OAuth(url) finds the first one's credentials in the OS keychain"; field notes,
"Expiry, issuer and endpoints not persisted: after a restart the stale token is sent, and the 401 opens a browser".
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mcp_login.testing import EmbeddedServer

__all__: list[str] = []

pytestmark = [
    pytest.mark.real,
    # A new process has a quarter of a second for its first look at the keychain, and asks without a token after it.
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="the Secret Service is Linux's"),
    pytest.mark.timeout(120),
]

#: The first process: a person is there, who approves.
LOG_IN = """
import asyncio, sys
from mcp_login import login
from mcp_login.testing import Person
credentials = asyncio.run(login(sys.argv[1], on_authorization_url=Person.approves(), interactive=True))
print(credentials.scopes)
"""

#: Makes the stored token one that expired a minute ago.
LET_TIME_PASS = """
import asyncio, dataclasses, sys, time
from mcp_login import KeychainStorage
from mcp_login.storage.record import Record
async def main():
    storage = KeychainStorage()
    record = Record.parse(await storage.load(sys.argv[1]))
    past = dataclasses.replace(record, obtained_at=time.time() - 3660, expires_at=time.time() - 60)
    await storage.save(record.key, past.dump())
asyncio.run(main())
"""

#: A later process: nobody is there, and opening a browser would be an error.
CALL = """
import sys, httpx2
from mcp_login import OAuth
def browser(url):
    sys.exit("a browser was asked for")
with httpx2.Client(auth=OAuth(sys.argv[1], on_authorization_url=browser, interactive=True), trust_env=False) as http:
    answer = http.post(
        sys.argv[1],
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}},
        headers={"Accept": "application/json, text/event-stream"},
    )
print(answer.status_code, len(answer.history))
"""


def run(script: str, server: EmbeddedServer, environment: dict[str, str]) -> str:
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, server.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def files_that_hold(secrets: frozenset[str], folder: Path) -> list[Path]:
    """The files below `folder` in which one of `secrets` stands in clear."""
    needles = [secret.encode() for secret in secrets]
    return [
        path for path in folder.rglob("*") if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


def test_one_login_serves_later_processes_without_browser_and_without_discovery(secret_service: dict[str, str]) -> None:
    with EmbeddedServer(auto_approve=True).run() as server:
        assert run(LOG_IN, server, secret_service) == "('mcp',)"

        server.requests.clear()
        assert run(CALL, server, secret_service) == "200 0"
        assert server.requests.endpoints == ["mcp"]

        server.expire_access_tokens()
        server.requests.clear()
        assert run(CALL, server, secret_service) == "200 1"
        assert [name for name in server.requests.endpoints if name != "mcp"] == ["token"]
        assert server.count("token", grant_type="refresh_token") == 1

        secrets = server.secrets()
        assert secrets
        assert files_that_hold(secrets, Path(secret_service["HOME"])) == []


def test_after_the_expiry_that_was_announced_the_first_thing_sent_is_the_refresh(
    secret_service: dict[str, str],
) -> None:
    with EmbeddedServer(auto_approve=True).run() as server:
        run(LOG_IN, server, secret_service)
        run(LET_TIME_PASS, server, secret_service)
        server.requests.clear()
        assert run(CALL, server, secret_service) == "200 0"
        assert server.requests.endpoints == ["token", "mcp"]
