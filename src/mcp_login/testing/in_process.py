"""A way to the embedded server without sockets: httpx over ASGI, where dropped connections are a network's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx

from .application import ConnectionDropped

if TYPE_CHECKING:
    from .application import Application

__all__ = ["in_process_client"]


class _Transport(httpx.ASGITransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except ConnectionDropped as dropped:
            raise httpx.ReadError(str(dropped), request=request) from None


def in_process_client(application: Application) -> httpx.AsyncClient:
    """A client whose requests reach `application`, whatever host they name. Proxies of the environment don't count."""
    return httpx.AsyncClient(transport=_Transport(cast("Any", application)), trust_env=False)
