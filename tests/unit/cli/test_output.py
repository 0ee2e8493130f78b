"""What `--json` prints: every document as the schema says, errors included, and nothing else on standard output."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mcp_login import errors
from mcp_login.cli.commands import command_line
from mcp_login.cli.exit_codes import ExitCode
from mcp_login.cli.failure import CommandFailed, failure_of
from mcp_login.cli.main import main
from mcp_login.cli.output import (
    list_document,
    login_document,
    rfc3339,
    state_of,
    token_document,
    wants_json,
)
from mcp_login.protocol.client import ClientInformation
from mcp_login.storage.index import IndexEntry
from mcp_login.storage.record import Record
from tests.unit.cli.documents import SCHEMA, VALIDATOR, is_valid, parse, validate

__all__: list[str] = []

NOW = 1_785_230_000.0
ISSUER = "https://issuer.example.com"
URL = "https://mcp.example.com/mcp?key=k3y-of-the-query"

RECORD = Record(
    server_url=URL,
    issuer=ISSUER,
    client=ClientInformation(ISSUER, "the-client", "dynamic", client_secret="s3cret-of-the-client"),
    token_endpoint=f"{ISSUER}/token",
    access_token="t0ken-for-access",
    refresh_token="t0ken-for-refresh",
    resource=URL,
    account="work",
    expires_at=NOW + 90.7,
    obtained_at=NOW - 3600,
    granted_scopes=("files:read", "files:write"),
)
SECRETS = ("k3y-of-the-query", "s3cret-of-the-client", "t0ken-for-refresh")


def test_the_schema_is_one_of_draft_2020_12_and_has_a_definition_for_every_document() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    VALIDATOR.check_schema(SCHEMA)
    documents = {place["$ref"].rpartition("/")[2] for place in SCHEMA["oneOf"]}
    commands = {name for name, command in command_line.commands.items() if "json" in {p.name for p in command.params}}
    assert documents == {*commands, "error"}
    for name in documents:
        assert SCHEMA["$defs"][name]["properties"]["document"] == {
            "description": "Which document this is.",
            "const": name,
        }


def test_every_object_of_the_schema_refuses_members_that_it_does_not_know() -> None:
    objects = {name: part for name, part in SCHEMA["$defs"].items() if part.get("type") == "object"}
    assert len(objects) > 7
    for name, part in objects.items():
        assert part["additionalProperties"] is False, name
        assert part["required"] == list(part["properties"]), name


def test_the_schema_knows_every_exit_code_by_the_word_that_the_documents_use() -> None:
    known = SCHEMA["$defs"]["error_member"]["properties"]
    failures = [code for code in ExitCode if code is not ExitCode.OK]
    assert known["code"]["enum"] == [code.name.lower() for code in failures]
    assert known["exit_code"]["enum"] == [int(code) for code in failures]
    for code in failures:
        validate(CommandFailed("It failed.", code=code).document())


def test_a_document_that_mixes_two_exit_codes_is_refused() -> None:
    document = CommandFailed("It failed.", code=ExitCode.TIMEOUT).document()
    document["error"]["exit_code"] = 7
    assert not is_valid(document)


@pytest.mark.parametrize("how", ["login", "refreshed", "adopted"])
def test_a_login_is_told_without_a_secret(how: str) -> None:
    document = login_document(RECORD, how, "keychain", now=NOW)
    validate(document)
    text = json.dumps(document)
    assert [secret for secret in (*SECRETS, "t0ken") if secret in text] == []
    assert document["expires_at"] == "2026-07-28T09:14:50Z"
    assert document["expires_in"] == 90
    assert (document["renewable"], document["state"]) == (True, "valid")


def test_a_member_more_or_less_is_refused() -> None:
    document = login_document(RECORD, "login", "file", now=NOW)
    assert not is_valid({**document, "refresh_token": "x"})
    for name in document:
        assert not is_valid({key: value for key, value in document.items() if key != name})


def test_the_token_document_is_the_one_that_holds_a_token_and_holds_no_other_secret() -> None:
    document = token_document(RECORD, NOW)
    validate(document)
    assert (document["access_token"], document["token_type"]) == ("t0ken-for-access", "Bearer")
    assert [secret for secret in SECRETS if secret in json.dumps(document)] == []


def test_a_list_is_told_with_what_the_index_holds() -> None:
    entry = IndexEntry(URL, None, "redis", ISSUER, URL, (), 1e300)
    document = list_document([entry])
    validate(document)
    assert document["logins"][0]["updated_at"] is None
    assert SECRETS[0] not in json.dumps(document)


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (RECORD, "valid"),
        (replace(RECORD, expires_at=None), "valid"),
        (replace(RECORD, expires_at=NOW), "renewable"),
        (replace(RECORD, expires_at=NOW, refresh_token=None), "expired"),
        (replace(RECORD, refresh_token=None), "valid"),
    ],
)
def test_the_state_says_what_a_login_is_good_for(record: Record, state: str) -> None:
    assert state_of(record, NOW) == state


@pytest.mark.parametrize(
    ("seconds", "timestamp"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1_785_230_090.9, "2026-07-28T09:14:50Z"),
        (None, None),
        (1e15, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_timestamps_are_those_of_rfc_3339_in_utc(seconds: float | None, timestamp: str | None) -> None:
    assert rfc3339(seconds) == timestamp


def test_the_words_of_a_server_are_in_the_error() -> None:
    error = errors.TokenErrorResponse("invalid_scope", error_description="no\x1b[2J such scope", status_code=400)
    document = failure_of(error).document()
    validate(document)
    assert document["error"]["code"] == "refused"
    assert document["error"]["oauth_error"] == {
        "error": "invalid_scope",
        "error_description": "no[2J such scope",
        "error_uri": None,
        "status_code": 400,
    }


def test_a_server_s_wish_to_wait_is_a_number() -> None:
    document = failure_of(errors.TransportError("It is down.", retry_after=1.5)).document()
    validate(document)
    assert document["error"]["retry_after"] == 1.5


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ([], False),
        (["list", "--json"], True),
        (["--json", "list"], True),
        (["status", "--", "--json"], False),
        (["status", "--jsonx"], False),
    ],
)
def test_json_is_asked_for_by_the_option_alone(arguments: list[str], answer: bool) -> None:
    assert wants_json(arguments) is answer


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["login", "--json"], 2, "usage"),
        (["lst", "--json"], 2, "usage"),
        (["--json"], 2, "usage"),
        (["list", "--json", "--nonsense"], 2, "usage"),
        (["token", "https://a", "--json", "--min-valid-for", "x"], 2, "usage"),
        (["logout", "--json"], 2, "usage"),
        (["status", "https://mcp.example.com/mcp", "--json"], 3, "login_required"),
        (["token", "https://mcp.example.com/mcp", "--json"], 3, "login_required"),
        (["token", "http://mcp.example.com/mcp", "--json"], 8, "policy"),
        (["login", "ftp://mcp.example.com", "--json"], 8, "policy"),
        (["status", "https://mcp.example.com", "--storage", "keychain", "--json"], 7, "storage"),
    ],
)
def test_every_failure_is_one_document_on_standard_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, word: str
) -> None:
    monkeypatch.setenv("MCP_LOGIN_STORAGE", "file")
    assert main(arguments) == code
    captured = capsys.readouterr()
    document = parse(captured.out)
    assert (document["error"]["code"], document["error"]["exit_code"]) == (word, code)
    assert captured.err == ""


@pytest.mark.parametrize("command", ["list", "status"])
def test_where_nothing_is_stored_the_document_is_empty_and_nothing_is_said(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "--json"]) == 0
    captured = capsys.readouterr()
    document = parse(captured.out)
    assert (document["logins"], captured.err) == ([], "")


def test_what_goes_wrong_in_this_program_itself_is_a_document_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A person's environment that nobody has thought of: a home that is no text a path can hold.
    monkeypatch.setattr("os.environ", _Hostile())
    with pytest.raises(LookupError):
        main(["list", "--json"])
    document = parse(capsys.readouterr().out)
    assert document["error"]["message"] == "An error of mcp-login itself: LookupError."


class _Hostile(dict[str, str]):
    """An environment in which the place of the logins can't be looked up."""

    def get(self, name: str, default: Any = None) -> Any:
        if name == "MCP_LOGIN_HOME":
            raise LookupError(name)
        return default


def test_the_schema_is_printed_as_it_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
