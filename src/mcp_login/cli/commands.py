"""The commands and their options. What they do is imported when they run: `--help` needs click only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mcp_login import __version__
from mcp_login.errors import AuthError

from .exit_codes import ExitCode, exit_code_table
from .failure import CommandFailed, failure_of
from .screen import prepare_streams, say, show_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["command_line", "demo", "list_logins", "login", "logout", "run", "token"]

_EPILOG = f"\b\nExit codes:\n{exit_code_table()}"


def _within(most: float, *, above: float | None = None, least: float = 0) -> Callable[..., float | None]:
    """A callback that refuses a number outside. Not click's ranges: they show themselves as formulas, and let "nan" in."""

    def check(_context: click.Context, _option: click.Parameter, number: float | None) -> float | None:
        if number is None or (least <= number <= most and number != above):
            return number
        begin = f"above {above:g}" if above is not None else f"{least:g} or more"
        raise click.BadParameter(f"{number} is not {begin} and at most {most:.0f}.")

    return check


_storage = click.option(
    "--storage",
    type=click.Choice(["keychain", "file"]),
    help="Where logins are kept; a file is not encrypted. Default: what MCP_LOGIN_STORAGE says, else the keychain.",
)
_private_network = click.option(
    "--allow-private-network",
    is_flag=True,
    help="For an intranet that you trust: metadata may lead to private addresses, and those may do without TLS.",
)
_account = click.option("--account", metavar="NAME", help="A label that keeps several logins at one server apart.")
_url = click.argument("url")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="mcp-login", message="%(prog)s %(version)s")
def command_line() -> None:
    """Log in to MCP servers: in the browser once, from the keychain afterwards."""


@command_line.command()
@_url
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="A scope to ask for. May be repeated.")
@_account
@click.option("--client-id", metavar="ID", help="A client id that the server's operator gave you.")
@click.option(
    "--client-secret-stdin",
    is_flag=True,
    help="Read the client's secret from standard input. Or set MCP_LOGIN_CLIENT_SECRET.",
)
@click.option("--issuer", metavar="URL", help="The issuer that the client id belongs to; it is used at no other.")
@click.option("--client-metadata-url", metavar="URL", help="Your Client ID Metadata Document.")
@click.option(
    "--callback-host",
    type=click.Choice(["127.0.0.1", "localhost", "::1"]),
    help="Host of the redirect URI. Default: 127.0.0.1.",
)
@click.option(
    "--callback-port",
    type=int,
    callback=_within(65535, least=1),
    metavar="PORT",
    help="Port of the redirect URI, 1 to 65535. Default: the registered one, else any that is free.",
)
@click.option(
    "--timeout",
    type=float,
    callback=_within(86400, above=0),
    default=300.0,
    metavar="SECONDS",
    help="How long to wait for you to finish in the browser, at most a day. Default: 300.",
)
@click.option("--no-browser", is_flag=True, help="Show the address instead of opening a browser.")
@click.option("--force", is_flag=True, help="Log in anew, whatever is stored.")
@_storage
@click.option(
    "--no-resource",
    is_flag=True,
    help="Leave the resource indicator (RFC 8707) out, as Microsoft Entra ID wants.",
)
@click.option(
    "--trust-pkce",
    is_flag=True,
    help="Go on where the server's metadata doesn't say whether it supports PKCE (Entra ID). It is used in any case.",
)
@_private_network
def login(**options: Any) -> int:
    """Log in at the MCP server URL.

    What is stored is used or renewed where that is enough; otherwise your browser opens. With --no-browser, or where there is
    none, the address is shown: open it anywhere, then paste the address you end at.
    """
    from .login import LoginArguments, log_in

    show_warnings()
    return log_in(LoginArguments(**options))


@command_line.command()
@_url
@_account
@click.option(
    "--min-valid-for",
    type=float,
    callback=_within(86400 * 365),
    default=30.0,
    metavar="SECONDS",
    help="How long the token still has to be good, at most a year; it is renewed if it isn't. Default: 30.",
)
@_storage
@_private_network
def token(**options: Any) -> int:
    """Print an access token for the MCP server URL, and nothing else.

    Never opens a browser: exit code 3 says that somebody has to log in first.

    \b
    curl -H "Authorization: Bearer $(mcp-login token URL)" URL
    """
    from .stored import print_token

    show_warnings()
    return print_token(**options)


@command_line.command(short_help="Log out: revoke the login at the server, delete it here.")
@_url
@_account
@click.option("--forget-client", is_flag=True, help="Also forget this program's registration at the server.")
@_storage
@_private_network
def logout(**options: Any) -> int:
    """Log out at the MCP server URL: revoke the login there, delete it here.

    It is deleted here even if the server can't be reached; exit code 13 says so then.
    """
    from .stored import log_out

    show_warnings()
    return log_out(**options)


@command_line.command("list")
def list_logins() -> int:
    """List the logins that are stored on this machine."""
    from .stored import print_logins

    show_warnings()
    return print_logins()


@command_line.command()
@click.option("--no-browser", is_flag=True, help="Let a built-in stand-in approve instead of opening a browser.")
def demo(*, no_browser: bool) -> int:
    """Watch a whole login, on this machine only.

    Starts a protected MCP server and its authorization server on loopback, logs in through your browser, calls a tool; then
    does it again with what was stored, and once more with an expired token. Nothing is left behind.
    """
    from .demo import run_demo

    show_warnings()
    return run_demo(no_browser=no_browser)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with `arguments` (default: those of the process) and give its exit status."""
    prepare_streams()
    try:
        try:
            result = command_line.main(arguments, prog_name="mcp-login", standalone_mode=False)
        except AuthError as error:
            raise failure_of(error) from None
    except CommandFailed as failure:
        failure.show()
        return failure.code
    except click.ClickException as failure:
        failure.show()
        return failure.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("Interrupted.")
        return ExitCode.INTERRUPTED
    return int(result or 0)
