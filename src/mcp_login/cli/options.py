"""The options that several commands share, and how their values are completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import click

from mcp_login.errors import PolicyError
from mcp_login.protocol.uri import canonical_resource

if TYPE_CHECKING:
    from collections.abc import Callable

_Decorator: TypeAlias = "Callable[[Callable[..., Any]], Callable[..., Any]]"

__all__ = [
    "SHELLS",
    "account_option",
    "filled",
    "json_option",
    "private_network_option",
    "storage_option",
    "url_argument",
    "url_or_none_argument",
    "within",
]

#: The shells that `completion` knows.
SHELLS = ("bash", "zsh", "fish")


def within(most: float, *, above: float | None = None, least: float = 0) -> Callable[..., float | None]:
    """A callback that refuses a number outside. Not click's ranges: they show themselves as formulas, and let "nan" in."""

    def check(_context: click.Context, _option: click.Parameter, number: float | None) -> float | None:
        if number is None or (least <= number <= most and number != above):
            return number
        allowed = f"above {above:g} and at most {most:.0f}" if above is not None else f"from {least:g} to {most:.0f}"
        raise click.BadParameter(f"{number:g} must be {allowed}.")

    return check


def filled(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """A callback that refuses an empty text, such as that of a shell's variable that isn't set."""
    if text is None or text.strip():
        return text
    raise click.BadParameter("it is empty.")


def _url(_context: click.Context, _argument: click.Parameter, url: str | None) -> str | None:
    """Refuse what is no URL at all: a slip of the hand, and not refused for safety as some URLs are."""
    if url is not None and "://" not in url:
        try:
            canonical_resource(url, allow_http=True)
        except PolicyError as error:
            raise click.BadParameter(str(error)) from None
    return url


def _urls(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    from .completion import stored_urls

    return stored_urls(begun)


def _accounts(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    from .completion import stored_accounts

    return stored_accounts(begun, context.params.get("url"))


#: The server's URL. `login` takes one that is stored, too: it may be time for a new login.
url_argument: _Decorator = click.argument("url", callback=_url, shell_complete=_urls)
url_or_none_argument: _Decorator = click.argument("url", required=False, callback=_url, shell_complete=_urls)
account_option: _Decorator = click.option(
    "--account",
    metavar="NAME",
    callback=filled,
    shell_complete=_accounts,
    help="A label that keeps several logins at one server apart.",
)
storage_option: _Decorator = click.option(
    "--storage",
    type=click.Choice(["keychain", "file"]),
    help="Where logins are kept; a file is not encrypted. Default: what MCP_LOGIN_STORAGE says, else the keychain.",
)
private_network_option: _Decorator = click.option(
    "--allow-private-network",
    is_flag=True,
    help="For an intranet that you trust: metadata may lead to private addresses, and those may do without TLS.",
)
json_option: _Decorator = click.option(
    "--json",
    "json",
    is_flag=True,
    help="Print one JSON document on standard output, also for an error. `mcp-login schema` describes it.",
)
