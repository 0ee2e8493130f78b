"""Shell completion: click's own, with a script for bash that understands URLs, and values from the list of stored logins.

Bash takes a colon for the end of a word, so `https://a` reaches click's own script as three words. This one hands the line over
as it was typed, and what is offered leaves out what bash believes to be an earlier word.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any, ClassVar

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from mcp_login.errors import StorageError

if TYPE_CHECKING:
    import click

__all__ = [
    "VARIABLE",
    "LineBashComplete",
    "WordsFishComplete",
    "WordsZshComplete",
    "install",
    "script",
    "stored_accounts",
    "stored_urls",
]

#: What the scripts set to ask for completions; click's name for it.
VARIABLE = "_MCP_LOGIN_COMPLETE"

_BASH = """\
%(complete_func)s() {
    local completion
    COMPREPLY=()
    while IFS= read -r completion; do
        [[ -n $completion ]] && COMPREPLY+=("$completion")
    done < <(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""

#: Stands for the cursor in a line that is split into words. A character that nobody types.
_CURSOR = "\ue000"


class _WholeWords(ShellComplete):
    """Offers whole words: click leaves "--option=" out where a value is completed after it."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """What the word `incomplete` after `args` may become."""
        items = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if incomplete.startswith("--") and equals:
            return [CompletionItem(f"{option}={item.value}", item.type, item.help) for item in items]
        return items


class WordsZshComplete(_WholeWords, ZshComplete):
    """Completion in zsh."""


class WordsFishComplete(_WholeWords, FishComplete):
    """Completion in fish."""


class LineBashComplete(_WholeWords, BashComplete):
    """Completion in bash 3.2 and newer, from the whole line."""

    source_template: ClassVar[str] = _BASH

    @staticmethod
    def _check_version() -> None:
        """Any version will do."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that the cursor is in, and what there is of that."""
        *words, last = split_arg_string(self._line() + _CURSOR)
        return words[1:], last.removesuffix(_CURSOR)

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """What bash is to put in place of what it takes for the word: quoted, and without what came before a colon."""
        value = str(item.value)
        word = self.get_completion_args()[1]
        if _in_quotes(self._line()):
            # In quotes nothing can be quoted: what a shell would run, or end them with, is not put there.
            return word if set(value) & set("$`\\\"'!") else value
        begun = max((word.rfind(mark) for mark in ":=" if mark in os.environ.get("COMP_WORDBREAKS", ":=")), default=-1)
        if value.startswith(word[: begun + 1]):
            value = value[begun + 1 :]
        return _quoted(value)

    def _line(self) -> str:
        # Bash counts bytes.
        line = os.fsencode(os.environ.get("COMP_LINE", ""))
        point = os.environ.get("COMP_POINT", "")
        return os.fsdecode(line[: int(point)] if point.isascii() and point.isdecimal() and len(point) < 10 else line)


def install() -> None:
    """Have click complete so. Called where a shell asks for completions, or for its script."""
    for kind in (LineBashComplete, WordsZshComplete, WordsFishComplete):
        add_completion_class(kind)


def script(command: click.Command, shell: str) -> str:
    """The script that has `shell` complete `command`."""
    install()
    kind = get_completion_class(shell)
    assert kind is not None, shell  # noqa: S101 - `options.SHELLS` names click's own
    return kind(command, {}, "mcp-login", VARIABLE).source()


def stored_urls(begun: str) -> list[str]:
    """The servers with a stored login whose URLs begin so."""
    return sorted({url for url, _ in _stored() if url.startswith(begun)})


def stored_accounts(begun: str, url: str | None = None) -> list[str]:
    """The accounts with a stored login that begin so; only those at `url`, where there are any."""
    known = [(where, account) for where, account in _stored() if account is not None and account.startswith(begun)]
    return sorted({account for where, account in known if where == url} or {account for _, account in known})


def _stored() -> list[tuple[str, str | None]]:
    from mcp_login.storage.index import Index

    try:
        return [
            (entry.server_url, entry.account)
            for entry in Index().entries()
            # A shell would put other characters on the line, and a line end is two answers.
            if entry.server_url.isprintable() and (entry.account or "").isprintable()
        ]
    except (OSError, StorageError):
        # Nobody looks for an error behind the Tab key.
        return []


def _in_quotes(line: str) -> bool:
    try:
        shlex.split(line)
    except ValueError as error:
        return "quotation" in str(error)
    return False


def _quoted(value: str) -> str:
    """`value` with a backslash before what a shell would take for its own."""
    return "".join(
        character if character.isalnum() or character in "_-./:=@%+,~" else f"\\{character}" for character in value
    )
