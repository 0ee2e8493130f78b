"""How a client proves itself at the token and revocation endpoints (RFC 6749 section 2.3, RFC 7591 section 2).

Standard library only: a refresh must start fast.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from mcp_login.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .client import ClientInformation, TokenEndpointAuthMethod

__all__ = [
    "authenticate",
    "authentication_secrets",
    "preferred_registration_method",
    "select_token_endpoint_auth_method",
]

# In this order where the server leaves the choice: in the body nothing is encoded twice, which servers get wrong for
# Basic.
_WITH_SECRET: tuple[TokenEndpointAuthMethod, ...] = ("client_secret_post", "client_secret_basic")


def select_token_endpoint_auth_method(
    *, supported: Sequence[str] | None, registered: str | None, has_secret: bool
) -> TokenEndpointAuthMethod:
    """The method to use at the token endpoint.

    `supported` is `token_endpoint_auth_methods_supported` of the server's metadata (None or empty: the server doesn't
    say, and RFC 8414 section 2 makes that client_secret_basic), `registered` the method that the registration returned
    or the caller named, `has_secret` whether a secret was issued.

    Without a secret it is `none`. A secret that was issued is used, even if the server registered `none` or no method:
    some servers do that and then want the secret.
    """
    if not has_secret:
        return "none"
    allowed = [method for method in _WITH_SECRET if method in (supported or ())]
    for method in _WITH_SECRET:
        # Metadata that lists neither excludes neither: the registration, which is about this very client, decides.
        if registered == method and (method in allowed or not allowed):
            return method
    if allowed:
        return allowed[0]
    return "client_secret_post" if supported else "client_secret_basic"


def preferred_registration_method(supported: Sequence[str] | None) -> TokenEndpointAuthMethod:
    """The `token_endpoint_auth_method` to ask for in a dynamic registration (RFC 7591 section 2).

    A client on a person's machine can't keep a secret (RFC 8252 section 8.5), so it asks for `none` unless the server
    lists methods (`supported`) without it.
    """
    if not supported or "none" in supported:
        return "none"
    return next((method for method in _WITH_SECRET if method in supported), "none")


def authenticate(client: ClientInformation, form: dict[str, str], headers: dict[str, str]) -> None:
    """Add the client's identification to a request, as its `token_endpoint_auth_method` says (RFC 6749 section 2.3.1).

    Changes `form` or `headers` in place; uses exactly one method (section 2.3). With `private_key_jwt` the grant has
    put `client_assertion` into the form already, because that takes a clock and a key.

    Raises `PolicyError` if the method needs an assertion and there is none.
    """
    method, secret = client.token_endpoint_auth_method, client.client_secret
    if method == "client_secret_basic" and secret is not None:
        headers["Authorization"] = f"Basic {_basic_credentials(client.client_id, secret)}"
        return
    if method == "private_key_jwt" and "client_assertion" not in form:
        raise PolicyError(
            "This client is registered with private_key_jwt, but no signed assertion was given. "
            "Use a grant that signs one, or a client with another token_endpoint_auth_method."
        )
    form["client_id"] = client.client_id
    # A secret that got lost goes out as a public client: the server's invalid_client then starts the recovery.
    if method == "client_secret_post" and secret is not None:
        form["client_secret"] = secret


def authentication_secrets(client: ClientInformation) -> tuple[str, ...]:
    """The values that `authenticate` may send and that no error may quote."""
    if client.client_secret is None:
        return ()
    return (client.client_secret, _basic_credentials(client.client_id, client.client_secret))


def _basic_credentials(client_id: str, secret: str) -> str:
    # Form-encoded first, each by itself (RFC 6749 section 2.3.1 and appendix B): a ":" in the id would end it.
    return b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode("ascii")).decode("ascii")
