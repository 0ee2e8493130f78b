"""The demo in this process, where everything that must not be shown is known."""

from __future__ import annotations

import json
import re
from typing import Literal

import jsonschema
import pytest

from mcp_login import AuthError, MemoryStorage
from mcp_login.cli.demo import Demo
from mcp_login.cli.failure import CommandFailed
from mcp_login.cli.main import main
from mcp_login.cli.output import schema_text
from mcp_login.cli.steps import DOCUMENTS, Sheet, Step, label_of, request_text, step_lines, time_text
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
    shown = captured.out + json.dumps(demo.document())
    assert [secret for secret in server.secrets() if secret in shown] == []
    assert max(len(line) for line in captured.out.splitlines()) <= 80


def test_sixty_columns_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedServer(separate_authorization_server=True).run() as server:
        demo = Demo(server, MemoryStorage(), use_browser=False, sheet=Sheet(columns=60))
        demo.introduce("in memory")
        demo.run()
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 60
    assert sum(line.startswith("  whoami answers") for line in lines) == 3


def test_each_kind_of_request_has_words_of_its_own_and_its_documents() -> None:
    with EmbeddedServer().run() as server:
        Demo(server, MemoryStorage(), use_browser=False).run()
    labels = {label_of(request) for request in server.requests}
    assert labels == set(DOCUMENTS) - {"browser"}
    assert all("?" not in request_text(request) for request in server.requests)


def test_each_step_is_told_with_its_documents_status_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--no-browser"]) == 0
    shown = capsys.readouterr().out
    steps = re.findall(r"^  (\w+) {2,}(.+)\n {16}(.+)$", shown, re.MULTILINE)
    assert [name for name, _, _ in steps] == [
        *("challenge", "metadata", "metadata", "registration", "browser", "consent", "code", "token", "call"),
        "call",
        *("refused", "refresh", "call"),
        *("revocation", "revocation"),
    ]
    for name, request, documents in steps:
        assert re.search(r"RFC \d{4}", documents)
        assert name == "browser" or re.search(r" [2-4]\d\d +\d+(\.\d)? m?s$", request)
    told = dict(zip([name for name, _, _ in steps], [documents for _, _, documents in steps], strict=True))
    for name, document in {
        "challenge": "RFC 9728 section 5.1",
        "registration": "RFC 7591",
        "browser": "RFC 7636",
        "token": "RFC 8707",
        "revocation": "RFC 7009",
    }.items():
        assert document in told[name]


def test_the_times_of_the_parts_are_told_and_how_much_of_it_the_browser_was_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", "--no-browser"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    time = r"\d+(\.\d)? m?s"
    assert re.search(rf"8 requests, {time} in all; {time} of it for the stand-in in the browser\.", shown)
    assert re.search(rf"1 request: no browser, no discovery, no token request\. {time} in all\.", shown)
    assert re.search(rf"3 requests, {time} in all\. The refresh token was rotated, too \(RFC 9700\)\.", shown)
    assert re.search(
        rf"The same call three times: {time} with a login, {time} from memory, {time} with a refresh\.", shown
    )
    assert shown.index("The same call") < shown.index("mcp-login login https://mcp.example.com/mcp")


def test_a_refresh_token_that_is_kept_is_not_called_rotated(capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedServer(rotation=False).run() as server:
        demo = Demo(server, MemoryStorage(), use_browser=False)
        demo.run()
    assert "rotated" not in capsys.readouterr().out
    assert demo.document()["rotated"] is False


def test_for_programs_there_is_one_document_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--no-browser", "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    jsonschema.validate(document, json.loads(schema_text()))
    assert captured.err.count("whoami answers") == 3
    names = [step["name"] for step in document["steps"] if step["part"] == "login"]
    assert names == [
        *("challenge", "resource_metadata", "server_metadata", "registration", "browser", "consent", "code", "token"),
        "call",
    ]
    assert {step["name"]: step["status"] for step in document["steps"]}["code"] == 303
    assert all(step["documents"] and step["duration_ms"] >= 0 for step in document["steps"])
    assert [result["scopes"] for result in document["results"]] == [["mcp"]] * 3
    assert document["rotated"] is True
    login, *others = document["parts"]
    assert 0 < login["waited_ms"] < login["duration_ms"]
    assert [part["requests"] for part in document["parts"]] == [8, 1, 3, 2]
    assert [part["waited_ms"] for part in others] == [0, 0, 0]
    # The steps are the part: what lies between two requests counts with the second. What is left is the last answer's way.
    for part in document["parts"]:
        steps = sum(step["duration_ms"] for step in document["steps"] if step["part"] == part["name"])
        assert steps < part["duration_ms"] + 20


def test_where_the_demo_fails_the_document_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "paper")
    assert main(["demo", "--json"]) == 7
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads(schema_text()))
    assert document["document"] == "error"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.0084, "8 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (3.21, "3.2 s"),
        (95.0, "95.0 s"),
        (-1.0, "0 ms"),
    ],
)
def test_times_are_told_as_by_a_stopwatch(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


@pytest.mark.parametrize("columns", [40, 48, 60, 72, 80])
def test_a_step_fits_into_its_columns_and_keeps_what_tells(columns: int) -> None:
    step = Step("login", "resource metadata", "resource_metadata", "GET", "/", 200, 119.0)
    path = "GET  /.well-known/oauth-protected-resource/" + "a" * 30 + "/mcp"
    first, *below = step_lines(step, path, Sheet(columns=columns))
    assert max(map(len, [first, *below])) <= columns
    assert first.startswith("  metadata      GET  ")
    assert first.endswith("/mcp  200  119.0 s")
    assert " ".join(" ".join(below).split()) == "names the authorization server (RFC 9728)"


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
