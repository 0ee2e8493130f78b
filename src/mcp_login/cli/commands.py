"""The commands and their options. What they do is imported when they run: `--help` needs click only."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from mcp_login import __version__
from mcp_login.errors import AuthError

from .exit_codes import ExitCode
from .failure import CommandFailed, failure_of
from .group import ExampleGroup
from .options import (
    SHELLS,
    account_option,
    filled,
    json_option,
    private_network_option,
    storage_option,
    url_argument,
    url_or_none_argument,
    within,
)
from .output import begin_output, schema_text, show_error, show_text, wants_json
from .screen import forget, help_width, prepare_streams, say, show_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "command_line",
    "completion",
    "demo",
    "list_logins",
    "login",
    "logout",
    "run",
    "schema",
    "status",
    "token",
]

_SERVER = "https://mcp.example.com/mcp"


@click.group(
    cls=ExampleGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    start=[
        ("mcp-login demo", "see how it works"),
        (f"mcp-login login {_SERVER}", "log in; your browser opens"),
        (f"mcp-login token {_SERVER}", "print a token, for programs"),
    ],
)
@click.version_option(__version__, prog_name="mcp-login", message="%(prog)s %(version)s")
def command_line() -> None:
    """Log in to MCP servers: in the browser once, from the keychain afterwards."""


@command_line.command(
    examples=[
        ("Log in; your browser opens", f"mcp-login login {_SERVER}"),
        ("Ask for scopes", f"mcp-login login {_SERVER} --scope files:read --scope files:write"),
        ("A second account at the same server", f"mcp-login login {_SERVER} --account work"),
        ("Over SSH: open the address anywhere, paste the one you end at", f"mcp-login login {_SERVER} --no-browser"),
        (
            "With a client that the server's operator gave you",
            f"mcp-login login {_SERVER} --client-id ID --callback-port 8080",
        ),
        ("For a script", f"mcp-login login {_SERVER} --json | jq .expires_at"),
    ]
)
@url_argument
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="A scope to ask for. May be repeated.")
@account_option
@click.option("--client-id", metavar="ID", callback=filled, help="A client id that the server's operator gave you.")
@click.option(
    "--client-secret-stdin",
    is_flag=True,
    help="Read the client's secret from standard input. Or set MCP_LOGIN_CLIENT_SECRET.",
)
@click.option(
    "--issuer", metavar="URL", callback=filled, help="The issuer that the client id belongs to; it is used at no other."
)
@click.option(
    "--client-metadata-url",
    metavar="URL",
    callback=filled,
    help="Your Client ID Metadata Document: a public JSON file that describes your program to servers.",
)
@click.option(
    "--callback-host",
    type=click.Choice(["127.0.0.1", "localhost", "::1"]),
    help="Host of the redirect URI. Default: 127.0.0.1.",
)
@click.option(
    "--callback-port",
    type=int,
    callback=within(65535, least=1),
    metavar="PORT",
    help="Port of the redirect URI, 1 to 65535. Default: the registered one, else any that is free.",
)
@click.option(
    "--timeout",
    type=float,
    callback=within(86400, above=0),
    default=300.0,
    metavar="SECONDS",
    help="How long to wait for you to finish in the browser, at most a day. Default: 300.",
)
@click.option("--no-browser", is_flag=True, help="Show the address instead of opening a browser.")
@click.option("--force", is_flag=True, help="Log in and register anew, whatever is stored.")
@storage_option
@click.option(
    "--no-resource",
    is_flag=True,
    help="Leave out the resource indicator (RFC 8707), which names the server that a token is for, as Microsoft Entra ID wants.",
)
@click.option(
    "--trust-pkce",
    is_flag=True,
    help="Go on where the server's metadata doesn't say that it supports PKCE (Entra ID). "
    "PKCE, which makes a stolen code useless, is used all the same.",
)
@private_network_option
@json_option
def login(**options: Any) -> int:
    """Log in at the MCP server URL.

    What is stored is used or renewed where that is enough; otherwise your browser opens. With --no-browser, or where there is
    none, the address is shown: open it anywhere, then paste the address you end at.
    """
    from .login import LoginArguments, log_in

    if options["issuer"] is not None and options["client_id"] is None:
        raise click.UsageError("--issuer needs --client-id.")
    if any(not scope.strip() for scope in options["scopes"]):
        raise click.UsageError("--scope needs a scope.")
    show_warnings(logging_in=True)
    return log_in(LoginArguments(**options))


@command_line.command(
    "list",
    examples=[
        ("What is stored here", "mcp-login list"),
        ("The servers, one to a line", "mcp-login list --json | jq -r '.logins[].server_url'"),
    ],
)
@json_option
def list_logins(*, json: bool) -> int:
    """List the logins that are stored on this machine.

    Reads a list without secrets, and opens no keychain. `mcp-login status` says which of them are still good.
    """
    from .stored import print_logins

    show_warnings()
    return print_logins(json=json)


@command_line.command(
    short_help="Show which logins are good, until when, and what for.",
    examples=[
        ("All logins", "mcp-login status"),
        ("One of them", f"mcp-login status {_SERVER} --account work"),
        (
            "In a script: log in only if somebody has to",
            f"mcp-login status {_SERVER} >/dev/null || mcp-login login {_SERVER}",
        ),
        ("When the token expires", f"mcp-login status {_SERVER} --json | jq -r '.logins[0].expires_at'"),
    ],
)
@url_or_none_argument
@account_option
@storage_option
@json_option
def status(**options: Any) -> int:
    """Show whether the login at the MCP server URL is good, until when, and what for; without URL, every stored login.

    Reads what is stored, and asks neither a server nor you. "valid": the token can be used. "renewable": it has expired, and
    is renewed without asking you when it is next needed. "expired": somebody has to log in.

    With URL, exit code 3 says that somebody has to log in. Without, it is 0 whatever the logins' states are, and 7 if
    none of them could be read.
    """
    from .status import print_status

    show_warnings()
    return print_status(**options)


@command_line.command(
    examples=[
        ("In a request", f'curl -i -H "Authorization: Bearer $(mcp-login token {_SERVER})" {_SERVER}'),
        ("For a program that reads it from its environment", f'TOKEN="$(mcp-login token {_SERVER})" my-agent'),
        ("One that is good for another ten minutes", f"mcp-login token {_SERVER} --min-valid-for 600"),
        ("With its expiry", f"mcp-login token {_SERVER} --json | jq -r .expires_at"),
    ]
)
@url_argument
@account_option
@click.option(
    "--min-valid-for",
    type=float,
    callback=within(86400 * 365),
    default=30.0,
    metavar="SECONDS",
    help="How long the token still has to be good, at most a year; it is renewed if it isn't. Default: 30.",
)
@storage_option
@private_network_option
@json_option
def token(**options: Any) -> int:
    """Print an access token for the MCP server URL, and nothing else.

    Never opens a browser: exit code 3 says that somebody has to log in first.
    """
    from .stored import print_token

    show_warnings()
    return print_token(**options)


@command_line.command(
    short_help="Log out: revoke the login at the server, delete it here.",
    examples=[
        ("Log out", f"mcp-login logout {_SERVER}"),
        ("Of one account", f"mcp-login logout {_SERVER} --account work"),
        ("Of everything that is stored here", "mcp-login logout --all"),
    ],
)
@url_or_none_argument
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Log out of every stored login (of --account, in --storage). One whose URL has a query needs the whole URL.",
)
@account_option
@click.option(
    "--forget-client",
    is_flag=True,
    help="Also forget here the client id that the server gave: the next login registers anew.",
)
@storage_option
@private_network_option
@json_option
def logout(*, url: str | None, everything: bool, **options: Any) -> int:
    """Log out at the MCP server URL: revoke the login there, delete it here.

    It is deleted here even if the server can't be reached; exit code 13 says so then. With --all, one that fails doesn't
    keep the others from being tried.
    """
    from .logout import log_out, log_out_of_all

    if everything == (url is not None):
        raise click.UsageError("Give a URL or --all" + (", not both." if everything else "."))
    show_warnings()
    return log_out_of_all(**options) if url is None else log_out(url, **options)


@command_line.command(
    examples=[
        ("In your browser", "mcp-login demo"),
        ("Without one", "mcp-login demo --no-browser"),
    ]
)
@click.option("--no-browser", is_flag=True, help="Let a built-in stand-in approve instead of opening a browser.")
@json_option
def demo(*, no_browser: bool, json: bool) -> int:
    """Watch a whole login, on this machine only.

    Starts a protected MCP server and its authorization server on loopback, logs in through your browser, calls a tool; then
    does it again with what was stored, and once more with an expired token. Nothing is left behind.
    """
    from .demo import run_demo

    show_warnings()
    return run_demo(no_browser=no_browser, json=json)


@command_line.command(
    examples=[
        ("bash, in ~/.bashrc", 'eval "$(mcp-login completion bash)"'),
        ("zsh, in ~/.zshrc after compinit", 'eval "$(mcp-login completion zsh)"'),
        ("fish, in ~/.config/fish/config.fish", "mcp-login completion fish | source"),
    ]
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(*, shell: str) -> int:
    """Print the script that completes this command in your shell.

    Completed are commands, options, and the servers and accounts of stored logins.
    """
    from .completion import script

    show_text(script(command_line, shell))
    return ExitCode.OK


@command_line.command(
    examples=[
        ("Keep it", "mcp-login schema > schema.json"),
        ("Check an answer with it", "mcp-login list --json | check-jsonschema --schemafile schema.json -"),
    ]
)
def schema() -> int:
    """Print the JSON Schema (2020-12) of what --json prints."""
    show_text(schema_text().rstrip("\n"))
    return ExitCode.OK


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with `arguments` (default: those of the process) and give its exit status."""
    prepare_streams()
    begin_output()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if os.environ.get("_MCP_LOGIN_COMPLETE"):
        from .completion import install

        install()
    try:
        return _run(words, json=wants_json(words))
    except OSError as error:
        # A reader that went away: Windows has its own word for it.
        if error.errno != errno.EPIPE and not (os.name == "nt" and error.errno == errno.EINVAL):
            raise
        for stream in (sys.stdout, sys.stderr):
            forget(stream)
        return ExitCode.ERROR


def _run(words: list[str], *, json: bool) -> int:
    try:
        try:
            result = command_line.main(words, prog_name="mcp-login", standalone_mode=False, terminal_width=help_width())
            return int(result or 0)
        except AuthError as error:
            raise failure_of(error) from None
        except (click.Abort, KeyboardInterrupt):
            raise CommandFailed("Interrupted.", code=ExitCode.INTERRUPTED) from None
    except CommandFailed as failure:
        _show(failure, json=json)
        return failure.code
    except click.ClickException as failure:
        if json:
            show_error(_in_words(failure).document())
        else:
            _show_usage(failure)
        return failure.exit_code
    except Exception as error:
        if json:
            show_error(CommandFailed(f"An error of mcp-login itself: {type(error).__name__}.").document())
        raise


def _show(failure: CommandFailed, *, json: bool) -> None:
    if json:
        show_error(failure.document())
    elif failure.code is ExitCode.INTERRUPTED:
        say(failure.message)
    else:
        failure.show()


def _in_words(failure: click.ClickException) -> CommandFailed:
    """An error of click, in the terms of ours."""
    if not isinstance(failure, click.UsageError):
        return CommandFailed(failure.format_message())
    path = failure.ctx.command_path if failure.ctx is not None else "mcp-login"
    message = failure.format_message() if type(failure).__name__ != "NoArgsIsHelpError" else "Missing command."
    return CommandFailed(message, code=ExitCode.USAGE, hint=f"`{path} --help` shows what there is.")


def _show_usage(failure: click.ClickException) -> None:
    """In click's own way, where there is a standard error that takes it."""
    if sys.stderr is None:
        return
    try:
        failure.show()
    except (OSError, ValueError):
        forget(sys.stderr)
