"""The address that a person is sent to, and what they are asked for there: what `on_authorization_url` is told.

Standard library only: callers' type checkers and callbacks load it without the rest.
"""

from __future__ import annotations

from typing import Any

__all__ = ["AuthorizationUrl"]


class AuthorizationUrl(str):
    """The URL of an authorization request (RFC 6749 section 4.1.1): a string, which also says who asks for what.

    The URL holds the request's `state`, so its repr ends before the query; everything else is as with any string, and what
    a method of `str` gives is a plain string. Texts of servers in the attributes are verbatim: before they are shown,
    characters that control a terminal have to go.

    Arguments:
        url: The URL itself.
        server_url: The MCP server that the login is for. Its query, if there is one, may hold a key.
        issuer: The authorization server's issuer identifier (RFC 8414), validated.
        resource: The resource indicator in the request (RFC 8707); None where it is left out.
        scopes: The scopes that are asked for.
        redirect_uri: Where the browser comes back to.
        seconds: How long the person has, in seconds.
    """

    server_url: str
    issuer: str
    resource: str | None
    scopes: tuple[str, ...]
    redirect_uri: str
    seconds: float

    def __new__(
        cls,
        url: str,
        *,
        server_url: str,
        issuer: str,
        resource: str | None,
        scopes: tuple[str, ...],
        redirect_uri: str,
        seconds: float,
    ) -> AuthorizationUrl:
        made = super().__new__(cls, url)
        made.server_url = server_url
        made.issuer = issuer
        made.resource = resource
        made.scopes = scopes
        made.redirect_uri = redirect_uri
        made.seconds = seconds
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        """For copies and pickles: a callback may pass the URL on to another process."""
        return (str(self),), dict(self.__dict__)

    def __repr__(self) -> str:
        address, mark, _ = self.partition("?")
        return f"AuthorizationUrl({address + (mark and '?…')!r})"
