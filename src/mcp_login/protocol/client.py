"""What an authorization server knows this client by (RFC 7591 section 3.2.1). Standard library only: the warm path loads it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from mcp_login.errors import PolicyError

from .uri import require_secure

__all__ = [
    "LATEST",
    "MAX_CREDENTIAL",
    "ClientInformation",
    "RegistrationMechanism",
    "TokenEndpointAuthMethod",
    "validate_client_metadata_url",
]

#: The longest token, client id or client secret that a server may issue, in characters: it is kept in a keychain, and sent in
#: a header, for which hardly a server takes a quarter of this.
MAX_CREDENTIAL = 65_536

#: Times in seconds since the epoch stay below this (a float holds whole seconds exactly, and no calendar goes that far).
LATEST = 1e15

#: How the client came to be known, in the order of preference of the specification (client registration).
RegistrationMechanism = Literal["pre_registered", "metadata_document", "dynamic"]

#: RFC 7591 section 2, as far as this library speaks them.
TokenEndpointAuthMethod = Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]


@dataclass(frozen=True, slots=True)
class ClientInformation:
    """A client at one issuer. It is never offered to another (specification, "Authorization Server Binding")."""

    issuer: str
    client_id: str
    mechanism: RegistrationMechanism
    client_secret: str | None = field(default=None, repr=False)
    #: Seconds since the epoch; None: the secret doesn't expire.
    client_secret_expires_at: float | None = None
    #: Already chosen from what the server's metadata allows and what the registration returned.
    token_endpoint_auth_method: TokenEndpointAuthMethod = "none"  # noqa: S105 - the name of a method
    #: The redirect URI that was registered; None where the client was registered elsewhere.
    redirect_uri: str | None = None
    #: The name it was registered under, which a person is shown when they are asked for consent.
    client_name: str | None = None


def validate_client_metadata_url(url: str) -> None:
    """Check that `url` can be a client id (Client ID Metadata Document, section 3). Raises `PolicyError` otherwise."""
    # This refuses user names and passwords, too.
    require_secure(url, what="client metadata URL", allow_loopback=False)
    after_scheme = url.partition("#")[0].partition("?")[0].partition("://")[2]
    path = after_scheme.partition("/")[2]
    segments = re.sub("%2e", ".", path, flags=re.IGNORECASE).split("/")
    if not path:
        problem = "has no path. Host the document at a path, such as /client.json"
    elif "#" in url:
        problem = "has a fragment. Leave out the # and what follows"
    elif "." in segments or ".." in segments:
        problem = "has . or .. as a path segment. Write the path without them"
    else:
        return
    raise PolicyError(f"The client metadata URL {problem} (Client ID Metadata Document, section 3).")
