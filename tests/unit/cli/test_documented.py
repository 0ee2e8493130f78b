"""docs/command-line.md is true: commands, options, exit codes, environment variables. (tests/docs runs its commands.)"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcp_login.cli.commands import command_line
from mcp_login.cli.exit_codes import MEANINGS, ExitCode
from mcp_login.cli.group import ENVIRONMENT
from tests.unit.cli.documents import SCHEMA

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT.joinpath("docs", "command-line.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table under `heading`."""
    section = f"\n{PAGE}".split(f"\n{heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert lines is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[0].splitlines()[2:]]


def options(name: str) -> set[str]:
    """The long options of a command."""
    command = command_line.commands[name]
    return {text for parameter in command.params for text in parameter.opts if text.startswith("--")}


def test_every_exit_code_is_in_the_table_with_its_word_and_meaning() -> None:
    told = [(cells[0], cells[1].strip("`"), cells[2]) for cells in rows("## Exit codes")]
    assert told == [
        (str(int(code)), "" if code is ExitCode.OK else code.name.lower(), MEANINGS[code]) for code in ExitCode
    ]


def test_every_command_is_in_the_table() -> None:
    assert [cells[0].strip("|` ") for cells in rows("# Command line")] == list(command_line.commands)


@pytest.mark.parametrize("name", command_line.commands)
def test_every_option_is_named(name: str) -> None:
    assert [option for option in options(name) if f"`{option}`" not in PAGE] == []


def test_no_option_is_named_that_there_is_not() -> None:
    known = {"--help", "--version"}.union(*(options(name) for name in command_line.commands))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE))
    assert named <= known


def test_the_options_of_several_commands_are_those_of_the_commands_that_are_named() -> None:
    section = PAGE.split("Options of several commands:\n", 1)[1].split("\n## ")[0]
    told = re.findall(r"^\| `(--[\w-]+)` \| (.*?) \|", section, re.MULTILINE)
    assert told
    for option, commands in told:
        assert re.findall(r"`(\w+)`", commands) == [name for name in command_line.commands if option in options(name)]


def test_the_environment_variables_are_those_of_the_help() -> None:
    told = [re.sub("`", "", cells[0].strip("| ")) for cells in rows("## Environment variables")]
    assert told == list(ENVIRONMENT)


def test_the_states_and_the_documents_are_those_of_the_schema() -> None:
    states = [cells[0].strip("|` ") for cells in rows("## status")]
    assert states == SCHEMA["$defs"]["stored_login"]["properties"]["state"]["enum"]
    named = re.search(r"`document` says which it is: (.*?)\. A script", PAGE, re.DOTALL)
    assert named is not None
    assert re.findall(r"`(\w+)`", named[1]) == [part["$ref"].rpartition("/")[2] for part in SCHEMA["oneOf"]]
