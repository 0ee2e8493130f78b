"""What `login` gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .protocol.uri import repr_without_queries

if TYPE_CHECKING:
    from .storage.record import Record

__all__ = ["Credentials", "LogoutResult"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login as it stands now. `repr` shows neither the token nor the query of a URL. A token expires: ask `access_token`."""

    server_url: str
    #: The resource indicator that the token was asked for (RFC 8707).
    resource: str
    issuer: str
    client_id: str
    account: str | None
    scopes: tuple[str, ...]
    #: Seconds since the epoch; None: the server didn't say.
    expires_at: float | None
    #: Whether the login can be renewed without a person.
    refreshable: bool
    access_token: str = field(repr=False)
    #: Those of `scopes` that nobody asked for; none where the server was left to choose.
    unrequested_scopes: tuple[str, ...] = ()

    __repr__ = repr_without_queries

    @property
    def authorization(self) -> str:
        """The value of the Authorization header (RFC 6750 section 2.1)."""
        return f"Bearer {self.access_token}"

    @classmethod
    def of(cls, record: Record) -> Credentials:
        """What a caller may know of `record`."""
        return cls(
            server_url=record.server_url,
            resource=record.resource,
            issuer=record.issuer,
            client_id=record.client.client_id,
            account=record.account,
            scopes=record.granted_scopes,
            expires_at=record.expires_at,
            refreshable=record.refresh_token is not None,
            access_token=record.access_token,
            unrequested_scopes=record.unrequested_scopes,
        )


@dataclass(frozen=True, slots=True)
class LogoutResult:
    """What `logout` did. The local credentials are gone in any case."""

    server_url: str
    #: Whether there was anything to delete.
    deleted: bool
    #: Whether the server confirmed the revocation; None: it offers none, or none was due.
    revoked: bool | None
    #: Why the revocation failed: a `StorageUnreadable` where what was stored could not be read.
    error: Exception | None = None
    #: Whether the registration is forgotten here, as `forget_client` asks: not where no authorization server was found.
    client_forgotten: bool = False

    __repr__ = repr_without_queries
