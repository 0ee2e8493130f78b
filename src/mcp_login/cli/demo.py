"""`mcp-login demo`: a protected MCP server and its authorization server on loopback, and three clients that call it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from mcp_login.errors import AuthorizationErrorResponse, LoginTimeout, StorageError

from .exit_codes import ExitCode
from .failure import CommandFailed, failure_of
from .screen import duration, fields, show, styled
from .steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from mcp_login.storage.base import Storage
    from mcp_login.testing import EmbeddedServer

__all__ = ["CLIENT_NAME", "PATIENCE", "Demo", "call_whoami", "run_demo"]

#: How the demo introduces itself where it registers.
CLIENT_NAME = "mcp-login demo"
#: How long the demo waits for a person in their browser, in seconds.
PATIENCE = 120.0
#: The limit of each of the demo's own requests, in seconds.
REQUEST_LIMIT = 10.0

_PROTOCOL_VERSION = "2026-07-28"
_PROBE = "mcp-login demo"


def run_demo(*, no_browser: bool) -> int:
    """Run the demo. Raises `CommandFailed` and any `AuthError`."""
    try:
        from mcp_login.testing import EmbeddedServer
    except ModuleNotFoundError as error:
        raise CommandFailed(
            f"The demo needs the extra `cli` ({error.name} is missing).",
            hint='In the clone: python -m pip install ".[cli]"',
        ) from None
    with _folder_of_its_own(), contextlib.ExitStack() as stack:
        storage, remark = _storage()
        try:
            server = stack.enter_context(EmbeddedServer(separate_authorization_server=True).run())
        except OSError as error:
            raise CommandFailed(
                f"The demo's server could not be started on 127.0.0.1: {error.strerror}.",
                hint="Programs must be allowed to listen on loopback here.",
            ) from None
        use_browser = not no_browser and _person_has_browser()
        demo = Demo(server, storage, use_browser=use_browser, patience=PATIENCE)
        demo.introduce(remark)
        try:
            demo.run()
        finally:
            demo.clean_up()
    return ExitCode.OK


class Demo:
    """One run of the demo against `server`, with credentials in `storage`. `patience` with a person is in seconds."""

    def __init__(
        self, server: EmbeddedServer, storage: Storage, *, use_browser: bool, patience: float = PATIENCE
    ) -> None:
        self._server = server
        self._storage = storage
        self._use_browser = use_browser
        self._patience = patience
        self._steps = Steps(server.requests)

    def introduce(self, remark: str) -> None:
        """Say what is there; `remark` is about the storage."""
        show("A protected MCP server and its authorization server, on this machine only.\n")
        browser = "yours" if self._use_browser else "none is used: a built-in stand-in approves"
        rows = [
            ("MCP server", self._server.url),
            ("authorization server", self._server.issuer),
            ("credentials", remark),
            ("browser", browser),
        ]
        show(fields(rows))

    def run(self) -> None:
        """All of it. Raises any `AuthError`."""
        self._heading("1. A client calls the tool `whoami`. Nothing is stored: a person logs in.")
        try:
            answer = self._call()
        except LoginTimeout as error:
            raise failure_of(error, hint=_HOW_TO_GO_ON) from None
        except AuthorizationErrorResponse as error:
            raise failure_of(
                error, hint="Programs get this when a person says no. Run the demo again and approve."
            ) from None
        self._result(answer)

        kind = self._storage.name
        where = "in memory" if kind == "memory" else f"in the {kind}, as any later program does"
        self._heading(f"2. A second client finds the login {where}.")
        before = len(self._server.requests)
        self._result(self._call())
        asked = self._server.requests.endpoints[before:]
        rest = "no browser, no discovery, no token request" if set(asked) == {"mcp"} else "more than was needed"
        show(f"\n  {len(asked)} request{'' if len(asked) == 1 else 's'}: {rest}.")

        self._heading("3. The access token has expired. A third client renews it, and nobody is asked.")
        self._server.expire_access_tokens()
        self._result(self._call())

        self._heading("4. Log out: revoked at the server, deleted here.")
        self._log_out()
        show(f"\n{_OUTLOOK}")

    def clean_up(self) -> None:
        """Delete what a demo that broke off has left. No lock: a login that nobody waits for any more may hold it."""
        from mcp_login.storage.record import client_key, record_key

        async def delete() -> None:
            for key in (record_key(self._server.url, None), client_key(self._server.issuer, CLIENT_NAME)):
                with contextlib.suppress(StorageError):
                    await self._storage.delete(key)

        _run(delete())

    def _heading(self, text: str) -> None:
        show()
        show(text, fg="cyan", bold=True)
        show()

    def _result(self, answer: dict[str, Any]) -> None:
        show(f"\n  {styled('whoami answers', sys.stdout, fg='green', bold=True)}  {json.dumps(answer)}")

    def _call(self) -> dict[str, Any]:
        """What a new client does: it knows the URL and the storage, and nothing of the clients before."""
        with self._steps.following():
            return call_whoami(self._server.url, self._storage, self._open, self._patience)

    def _open(self, url: str) -> bool:
        from mcp_login.browser.opener import open_browser
        from mcp_login.testing import Person

        if self._use_browser:
            # Said first: starting a browser takes a while, and it asks for the page meanwhile.
            self._steps.say("browser", f"yours opens: approve there, within {duration(self._patience)}")
            if open_browser(url):
                return True
            self._steps.say("browser", "yours could not be started: the stand-in approves")
        else:
            self._steps.say("browser", "the stand-in opens the page and approves")
        return Person.approves()(url)

    def _log_out(self) -> None:
        from mcp_login import sync

        with self._steps.following():
            result = sync.logout(self._server.url, storage=self._storage, forget_client=True, client_name=CLIENT_NAME)
        if result.error is not None:
            raise result.error


def call_whoami(url: str, storage: Storage, open_url: Callable[[str], bool], patience: float) -> dict[str, Any]:
    """One MCP call, as any program makes it: the login is the `auth` of its HTTP client.

    `open_url` brings the authorization URL before a person, who has `patience` seconds. Gives the tool's answer.
    """
    import httpx

    from mcp_login import OAuth

    auth = OAuth(
        url,
        client_name=CLIENT_NAME,
        storage=storage,
        interactive=True,
        on_authorization_url=open_url,
        callback_timeout=patience,
    )
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "whoami",
            "arguments": {},
            "_meta": {"io.modelcontextprotocol/protocolVersion": _PROTOCOL_VERSION},
        },
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": _PROTOCOL_VERSION,
        "mcp-method": "tools/call",
        "mcp-name": "whoami",
    }
    # The environment's proxies can't reach this machine's loopback.
    with httpx.Client(auth=auth, trust_env=False, timeout=REQUEST_LIMIT) as http:
        response = http.post(url, json=message, headers=headers)
    if response.is_error:
        raise CommandFailed(f"The MCP server answered with status {response.status_code}.")
    answer: dict[str, Any] = response.json()["result"]["structuredContent"]
    return answer


def _person_has_browser() -> bool:
    from mcp_login.browser.opener import browser_available
    from mcp_login.browser.terminal import person_present

    return person_present() and browser_available()


@contextlib.contextmanager
def _folder_of_its_own() -> Iterator[None]:
    """The demo's locks and index go to a folder that is deleted: it leaves nothing behind, and needs no home folder."""
    before = os.environ.get("MCP_LOGIN_HOME")
    with tempfile.TemporaryDirectory(prefix="mcp-login-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["MCP_LOGIN_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["MCP_LOGIN_HOME"]
            else:
                os.environ["MCP_LOGIN_HOME"] = before


def _storage() -> tuple[Storage, str]:
    """The default storage if it works here, else memory; and what to say about it."""
    from mcp_login.storage.choose import default_storage
    from mcp_login.storage.memory import MemoryStorage

    storage = default_storage()
    if storage.name == "memory":
        return MemoryStorage(), "in memory"
    try:
        _run(_probe(storage))
    except StorageError:
        return MemoryStorage(), f"in memory: the {storage.name} can't be used here"
    return storage, f"in the {storage.name}, deleted at the end"


async def _probe(storage: Storage) -> None:
    await storage.save(_PROBE, "probe")
    await storage.delete(_PROBE)


def _run(work: Coroutine[Any, Any, None]) -> None:
    from mcp_login.portal import portal, wait_sync

    wait_sync(portal().submit(lambda: work))


_HOW_TO_GO_ON = (
    "Run it again and approve in the browser; or run `mcp-login demo --no-browser`, and a built-in stand-in approves."
)

_OUTLOOK = """\
With your own server:

  mcp-login login https://mcp.example.com/mcp    log in once
  mcp-login token https://mcp.example.com/mcp    a token, e.g. for curl

  from mcp_login import OAuth                    in Python, with httpx or httpx2
  httpx.AsyncClient(auth=OAuth("https://mcp.example.com/mcp"))"""
