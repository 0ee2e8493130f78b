"""How the commands present themselves: examples in every help, and the command that was meant when one is misspelt."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from .exit_codes import MEANINGS, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ENVIRONMENT", "ExampleCommand", "ExampleGroup"]

#: From this width on, in columns, a help text has room for two columns; below, the first one is as wide as `NARROW`.
ROOM = 60
NARROW = 10

#: The environment variables that the command line knows, for people.
ENVIRONMENT = {
    "MCP_LOGIN_STORAGE": "where logins are kept: keychain (the default), file (not encrypted), memory",
    "MCP_LOGIN_HOME": "a folder in place of the user's data and state folders",
    "MCP_LOGIN_CLIENT_SECRET": "the client secret of `login --client-id`",
    "BROWSER": "the command that opens a browser, %s for the address",
    "NO_COLOR": "any value: no colours",
    "FORCE_COLOR": "any value: colours in pipes and files, too",
    "HTTPS_PROXY, NO_PROXY": "proxies, as everywhere; never for loopback",
    "SSL_CERT_FILE": "certificates to trust besides the operating system's",
}


class _Formatter(click.HelpFormatter):
    """Puts what is told of an option under it where there is no room beside it."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, col_max if self.width >= ROOM else min(col_max, NARROW), col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


class ExampleCommand(click.Command):
    """A command whose help ends with examples: pairs of what it does and the line to type."""

    context_class: type[click.Context] = _Context

    def __init__(self, *arguments: Any, examples: Sequence[tuple[str, str]] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples: tuple[tuple[str, str], ...] = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(formatter, "Examples", self.examples)
        super().format_epilog(ctx, formatter)


class ExampleGroup(click.Group):
    """The command itself. Its help begins with how to start, and ends with the exit codes and the environment."""

    command_class: type[click.Command] | None = ExampleCommand
    context_class: type[click.Context] = _Context

    def __init__(self, *arguments: Any, start: Sequence[tuple[str, str]] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.start: tuple[tuple[str, str], ...] = tuple(start)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write how to start, the commands, then the options."""
        with formatter.section("Start"):
            formatter.write_dl(self.start, col_max=45)
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands. No sentence is cut."""
        with formatter.section("Commands"):
            names = self.list_commands(ctx)
            formatter.write_dl([(name, self.commands[name].get_short_help_str(200)) for name in names])

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order in which they are needed."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes and the environment variables."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(f"{code:>3}", MEANINGS[code]) for code in ExitCode])
        with formatter.section("Environment variables"):
            formatter.write_dl(list(ENVIRONMENT.items()))
        super().format_epilog(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named. Raises `click.UsageError` with the one that may have been meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            near = get_close_matches(name, self.list_commands(ctx), 1)
            meant = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"No such command '{name}'.{meant}", ctx)
        return super().resolve_command(ctx, args)


def _write_examples(formatter: click.HelpFormatter, title: str, examples: Sequence[tuple[str, str]]) -> None:
    if not examples:
        return
    with formatter.section(title):
        for number, (meaning, line) in enumerate(examples):
            if number:
                formatter.write_paragraph()
            indent = " " * formatter.current_indent
            formatter.write(f"{click.wrap_text(f'{meaning}:', formatter.width, indent, indent)}\n")
            # A line to copy is never broken.
            formatter.write(f"{indent}  {line}\n")
