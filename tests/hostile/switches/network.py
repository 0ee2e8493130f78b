"""The defences of `network/` and `discovery`, and how each is switched off. A new defence comes with its switch."""

from __future__ import annotations

from mcp_login.network.policy import AddressSpace
from tests.hostile.attack import Switch, nothing

__all__ = ["ADDRESS_OF_CONNECTION", "ADDRESS_SPACES"]


#: Judging URLs and addresses by who can reach them.
ADDRESS_SPACES = Switch(
    "address spaces",
    (
        ("mcp_login.network.policy.NetworkPolicy.check_url", nothing),
        ("mcp_login.network.policy.NetworkPolicy.check_address", nothing),
        ("mcp_login.protocol.authorization_server.require_secure", nothing),
    ),
)

#: Judging the very address that is connected to; what a URL shows by itself is still judged.
ADDRESS_OF_CONNECTION = Switch(
    "the address of the connection",
    (
        ("mcp_login.network.policy.NetworkPolicy.check_address", nothing),
        ("mcp_login.network.http.address_space", lambda _: AddressSpace.PUBLIC),
    ),
)
