"""Where the embedded server's endpoints are, and which one a request is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .configuration import Configuration
    from .request_log import Endpoint

__all__ = ["Site"]

_RESOURCE_WELL_KNOWN = "/.well-known/oauth-protected-resource"
_SERVER_WELL_KNOWN = "/.well-known/oauth-authorization-server"
_OIDC_WELL_KNOWN = "/.well-known/openid-configuration"


class Site:
    """The current configuration and the addresses that follow from it. Both change while the server runs."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._origins: tuple[str, str] | None = None

    def move(self, origin: str, authorization_server_origin: str) -> None:
        """From now on the server is at these origins."""
        self._origins = (origin, authorization_server_origin)

    @property
    def origin(self) -> str:
        """The MCP server's origin."""
        return self._origins[0] if self._origins else self.configuration.origin

    @property
    def server_origin(self) -> str:
        """The authorization server's origin."""
        if not self.configuration.separate_authorization_server:
            return self.origin
        return self._origins[1] if self._origins else self.configuration.authorization_server_origin

    @property
    def url(self) -> str:
        """The MCP endpoint."""
        return self.origin + self.configuration.mcp_path

    @property
    def resource(self) -> str:
        """The resource identifier: what tokens are bound to (RFC 8707)."""
        path = self.configuration.resource_path
        return self.origin + (self.configuration.mcp_path.rstrip("/") if path is None else path)

    @property
    def issuer(self) -> str:
        """The authorization server's identifier (RFC 8414 section 2)."""
        return self.server_origin + self.configuration.issuer_path

    def server_endpoint(self, name: str) -> str:
        """The URL of the authorization server's endpoint `name`, without a query."""
        return f"{self.issuer.rstrip('/')}/{name}"

    @property
    def resource_metadata_path(self) -> str | None:
        """Where the resource's metadata is (RFC 9728 section 3.1); None: nowhere."""
        resource_path = self.resource.removeprefix(self.origin)
        return {
            "path": _RESOURCE_WELL_KNOWN + resource_path,
            "root": _RESOURCE_WELL_KNOWN,
            "custom": "/metadata/resource.json",
            "absent": None,
        }[self.configuration.resource_metadata]

    @property
    def server_metadata_paths(self) -> list[str]:
        """Where the authorization server's metadata is (RFC 8414 section 3.1, OpenID Connect Discovery section 4)."""
        path = self.configuration.issuer_path.rstrip("/")
        places = {
            "oauth": _SERVER_WELL_KNOWN + path,
            "oidc": _OIDC_WELL_KNOWN + path,
            "oidc_appended": path + _OIDC_WELL_KNOWN,
        }
        return [places[place] for place in self.configuration.server_metadata]

    def is_mcp(self, host: str) -> bool:
        """Whether a request with this Host header is for the MCP server: not where only the authorization server is."""
        # A host that is neither is let through: in process, clients name the server as they like.
        own, server = _authority(self.origin), _authority(self.server_origin)
        return host != server or own == server

    def is_server(self, host: str) -> bool:
        """Whether a request with this Host header is for the authorization server: not where only the MCP server is."""
        own, server = _authority(self.origin), _authority(self.server_origin)
        return host != own or own == server

    def endpoint(self, host: str, path: str) -> Endpoint:
        """Whose a request to `path` with this Host header is. Probes of metadata count as such, wherever they go."""
        if path.startswith(_RESOURCE_WELL_KNOWN) or path == self.resource_metadata_path:
            return "resource_metadata"
        if path.startswith(_SERVER_WELL_KNOWN) or _OIDC_WELL_KNOWN in path:
            return "server_metadata"
        if self.is_mcp(host) and path.rstrip("/") == self.configuration.mcp_path.rstrip("/"):
            return "mcp"
        base = self.configuration.issuer_path.rstrip("/")
        named: dict[str, Endpoint] = {
            f"{base}/authorize": "authorization",
            f"{base}/consent": "consent",
            f"{base}/token": "token",
            f"{base}/register": "registration",
            f"{base}/revoke": "revocation",
        }
        return named.get(path, "unknown") if self.is_server(host) else "unknown"


def _authority(origin: str) -> str:
    return origin.partition("://")[2]
