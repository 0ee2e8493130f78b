"""How a token is first obtained: one small protocol, one class for each grant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp_login.discovery import Discovery
    from mcp_login.network.http import HttpClient
    from mcp_login.storage.base import Storage
    from mcp_login.storage.record import Record

__all__ = ["Grant", "Order", "Save"]

#: Stores the record, in the place of whatever is stored: whoever logs in means it.
Save: TypeAlias = "Callable[[Record], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of a grant: access to one resource for one account."""

    discovery: Discovery
    account: str | None
    #: Scopes the caller asked for, the challenge named, and those asked for before (specification, "Scope Selection Strategy").
    requested_scopes: tuple[str, ...] = ()
    challenged_scopes: tuple[str, ...] = ()
    previous_scopes: tuple[str, ...] = ()
    #: RFC 8707: sent verbatim; None leaves it out, by the caller's explicit wish.
    resource: str | None = None
    #: Whether what an earlier registration gave is not to be used.
    anew: bool = False
    #: Told when a person is about to be asked: from then on a failure is one that they have seen.
    asking: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)


class Grant(Protocol):
    """One way to a token. It must not keep state between two orders: sessions share it."""

    @property
    def name(self) -> str:
        """The word stored in the record."""
        ...

    @property
    def needs_person(self) -> bool:
        """Whether a person has to do something: such a grant is used only where a person may be asked."""
        ...

    @property
    def brings_person(self) -> bool:
        """Whether the caller brings an address to a person itself, so that neither a browser nor a terminal is needed."""
        ...

    @property
    def issuer(self) -> str | None:
        """The issuer that the grant's own credentials belong to; None: any."""
        ...

    @property
    def client_id(self) -> str | None:
        """The client id that was given by the caller; records of another client are not used."""
        ...

    async def forget(self, server_url: str, issuer: str, storage: Storage) -> None:
        """Forget what is kept for new logins to `server_url` at `issuer`, such as a registration."""
        ...

    async def obtain(self, order: Order, http: HttpClient, storage: Storage, save: Save) -> Record:
        """Obtain a token, `save` what came of it, and return that. Raises any `AuthError`.

        From sending what can be redeemed only once until `save` has returned, a cancellation must wait (`portal.protect`).
        """
        ...
