"""The demo in this process, where everything that must not be shown is known."""

from __future__ import annotations

from typing import Literal

import pytest

from mcp_login import AuthError, MemoryStorage
from mcp_login.cli.demo import Demo
from mcp_login.cli.failure import CommandFailed
from mcp_login.cli.main import main
from mcp_login.cli.steps import label_of, request_text
from mcp_login.testing import EmbeddedServer, Fault

__all__: list[str] = []


def test_the_demo_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedServer(separate_authorization_server=True).run() as server:
        demo = Demo(server, MemoryStorage(), use_browser=False)
        demo.introduce("in memory")
        demo.run()
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("whoami answers") == 3
    assert [secret for secret in server.secrets() if secret in captured.out] == []
    assert max(len(line) for line in captured.out.splitlines()) <= 80


def test_each_kind_of_request_has_a_word_of_its_own() -> None:
    with EmbeddedServer().run() as server:
        Demo(server, MemoryStorage(), use_browser=False).run()
    assert {label_of(request) for request in server.requests} == {
        *("challenge", "metadata", "registration", "consent", "code", "token", "call", "refused", "refresh"),
        "revocation",
    }
    assert all("?" not in request_text(request) for request in server.requests)


class RememberingStorage(MemoryStorage):
    """A storage that knows what was ever saved in it."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()

    async def save(self, key: str, value: str) -> None:
        self.keys.add(key)
        await super().save(key, value)


@pytest.mark.parametrize("fails_at", ["mcp", "token", "revocation"])
def test_a_demo_that_fails_leaves_nothing(fails_at: Literal["mcp", "token", "revocation"]) -> None:
    storage = RememberingStorage()
    with EmbeddedServer(separate_authorization_server=True).run() as server:
        demo = Demo(server, storage, use_browser=False)
        if fails_at == "mcp":
            # Not the first request, which is answered with a challenge.
            server.faults.set("mcp", [Fault(status=401, times=1), Fault(status=500)])
        else:
            server.faults.set(fails_at, [Fault(error="server_error", status=400)])
        with pytest.raises((AuthError, CommandFailed)):
            demo.run()
        demo.clean_up()
    assert storage.keys
    assert [key for key in storage.keys if storage.load_now(key, 0) is not None] == []


def test_a_storage_of_an_unknown_name_is_no_reason_to_take_another(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "paper")
    assert main(["demo"]) == 7
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "keychain, memory or file" in captured.err


def test_the_demo_runs_from_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--no-browser"]) == 0
    assert "in memory: the keychain can't be used here" in capsys.readouterr().out
