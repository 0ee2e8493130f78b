"""100 parallel requests that take 50 ms each: without auth, with `OAuth`, and with the MCP SDK's own provider.

    python benchmarks/parallel.py [--rounds 9] [--requests 100]

Over a transport that answers after 50 ms; every subject has a valid token. The SDK's provider (mcp 2.x) is measured where it
is installed. Results: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time

import httpx2
from _stats import table
from warm import URL, stored

from mcp_login import OAuth

DELAY = 0.05


class Slow(httpx2.AsyncBaseTransport):
    """Answers after a while, like a server that thinks."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(DELAY)
        return httpx2.Response(200, json={}, request=request)


def sdk_auth() -> httpx2.Auth | None:
    """The MCP SDK's provider, logged in."""
    with contextlib.suppress(ImportError):
        from mcp.client.auth import OAuthClientProvider
        from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

        class Stored:
            async def get_tokens(self) -> OAuthToken:
                return OAuthToken(access_token="token", token_type="Bearer", expires_in=86400)

            async def set_tokens(self, tokens: OAuthToken) -> None: ...

            async def get_client_info(self) -> OAuthClientInformationFull:
                return OAuthClientInformationFull(client_id="client", redirect_uris=["http://127.0.0.1:1/callback"])

            async def set_client_info(self, client_info: OAuthClientInformationFull) -> None: ...

        return OAuthClientProvider(
            URL,
            OAuthClientMetadata(redirect_uris=["http://127.0.0.1:1/callback"]),
            Stored(),  # type: ignore[arg-type, list-item]
        )
    return None


async def burst(auth: httpx2.Auth | None, requests: int) -> float:
    """Seconds that `requests` parallel requests take."""
    async with httpx2.AsyncClient(transport=Slow(), auth=auth) as http:
        await http.post(URL, json={})
        begin = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(requests):
                group.create_task(http.post(URL, json={}))
        return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    subjects: dict[str, httpx2.Auth | None] = {"no auth": None, "mcp-login": OAuth(URL, storage=stored())}
    sdk = sdk_auth()
    if sdk is not None:
        subjects["MCP SDK provider"] = sdk
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for round_number in range(options.rounds):
        for name, auth in subjects.items():
            if name == "MCP SDK provider" and round_number >= 3:
                continue  # some five seconds each
            times[name].append(asyncio.run(burst(auth, options.requests)))
    print(f"\n{options.requests} parallel requests of {DELAY * 1e3:.0f} ms, {options.rounds} interleaved rounds\n")
    print(table(times, "no auth"))
    slowest = statistics.median(times[list(times)[-1]]) / statistics.median(times["no auth"])
    print(f"\n{list(times)[-1]}: {slowest:.1f} times the time without auth")


if __name__ == "__main__":
    main()
