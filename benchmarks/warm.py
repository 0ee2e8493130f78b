"""What a request with a valid token costs: `OAuth` against an httpx2.Auth that sets a constant header.

    python benchmarks/warm.py [--rounds 60] [--requests 300]

Both over a MockTransport, in one process, in turns. Results: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from typing import TYPE_CHECKING

import httpx2
from _stats import interleaved, table

from mcp_login import MemoryStorage, OAuth
from mcp_login.protocol.client import ClientInformation
from mcp_login.storage.record import Record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

URL = "https://mcp.example.com/mcp"


class Constant(httpx2.Auth):
    """The least an Auth class can do."""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = "Bearer token"
        yield request


class ConstantDirect(httpx2.Auth):
    """The same without the base class's generator round the generator."""

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = "Bearer token"
        yield request

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        request.headers["Authorization"] = "Bearer token"
        yield request


def stored() -> MemoryStorage:
    """A storage with a valid token."""
    record = Record(
        server_url=URL,
        issuer="https://auth.example.com",
        client=ClientInformation("https://auth.example.com", "client", "dynamic"),
        token_endpoint="https://auth.example.com/token",
        access_token="token",
        refresh_token="refresh",
        resource=URL,
        expires_at=time.time() + 86400,
        obtained_at=time.time(),
    )
    storage = MemoryStorage()
    asyncio.run(storage.save(record.key, record.dump()))
    return storage


def answer(request: httpx2.Request) -> httpx2.Response:
    assert request.headers["authorization"] == "Bearer token"
    return httpx2.Response(200, json={})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    auths = {
        "constant header": Constant(),
        "mcp-login": OAuth(URL, storage=stored()),
        "constant, own flow": ConstantDirect(),
    }

    def synchronous(auth: httpx2.Auth) -> float:
        with httpx2.Client(transport=httpx2.MockTransport(answer), auth=auth) as http:
            http.post(URL, json={})
            begin = time.perf_counter()
            for _ in range(options.requests):
                http.post(URL, json={})
            return (time.perf_counter() - begin) / options.requests

    async def rounds_async(auth: httpx2.Auth) -> float:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), auth=auth) as http:
            await http.post(URL, json={})
            begin = time.perf_counter()
            for _ in range(options.requests):
                await http.post(URL, json={})
            return (time.perf_counter() - begin) / options.requests

    gc.disable()
    for kind, run in (("sync", synchronous), ("async", lambda auth: asyncio.run(rounds_async(auth)))):
        times = interleaved({name: lambda a=auth, r=run: r(a) for name, auth in auths.items()}, options.rounds)
        print(f"\nOne request, {kind}, {options.rounds} interleaved rounds of {options.requests}\n")
        print(table(times, "constant header", unit="µs", scale=1e6))


if __name__ == "__main__":
    main()
