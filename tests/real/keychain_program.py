"""A program that goes on with its login in the keychain: `python -m tests.real.keychain_program URL`.

It reads lines from its standard input and answers each with a line of JSON:

    ask      one request: the status or the error's class, how long it took, and the warnings that were shown
    stored   when the stored tokens were obtained, past the `OAuth`; None where nothing is stored

A browser window would be an answer of its own: nobody is there, but somebody might be, as far as the library knows.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import warnings

import httpx

from mcp_login import AuthError, KeychainStorage, OAuth, StorageWarning
from mcp_login.storage.record import Record, record_key

__all__: list[str] = []

MESSAGE = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"accept": "application/json, text/event-stream"}

windows: list[str] = []


def window(url: str) -> bool:
    """Somebody's browser."""
    windows.append(url)
    return True


def ask(client: httpx.Client, url: str) -> dict[str, object]:
    """What came of one request."""
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            got = str(client.post(url, json=MESSAGE, headers=HEADERS).status_code)
        except AuthError as error:
            got = type(error).__name__
    shown = [str(one.message) for one in caught if issubclass(one.category, StorageWarning)]
    return {"got": got, "seconds": time.monotonic() - began, "warnings": shown, "windows": len(windows)}


def stored(url: str) -> dict[str, object]:
    """What the keychain has."""
    text = asyncio.run(KeychainStorage().load(record_key(url, None)))
    return {"obtained_at": None if text is None else Record.parse(text).obtained_at}


def _main(url: str) -> None:
    auth = OAuth(url, interactive=True, on_authorization_url=window, callback_timeout=2)
    with httpx.Client(auth=auth, trust_env=False, verify=False, timeout=60) as client:
        for line in sys.stdin:
            answer = ask(client, url) if line.strip() == "ask" else stored(url)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _main(sys.argv[1])
