"""How long a whole process takes from its start to its first authorised request, with stored credentials.

    python benchmarks/start.py [--runs 41] [--child-python PYTHON]

The floor imports httpx2, reads one keyring entry with `keyring` and sends the header; ours is `auth=OAuth(url)`. Both talk to a
MockTransport. `keyring` loads every backend that is installed to choose one, which this library spares itself; the second floor
imports the Secret Service's backend by name, and so is as lean as a program can be that knows its machine.

Needs a keychain: on Linux run it under a Secret Service,
`python benchmarks/under_secret_service.py benchmarks/start.py` does. Results: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time

from _stats import interleaved, table

URL = "https://mcp.example.com/mcp"

ASK = """
def answer(request):
    assert request.headers["authorization"] == "Bearer " + {token!r}, "unauthorised"
    return httpx2.Response(200, json={{}})
"""

FLOOR_SYNC = """
import httpx2, keyring
token = keyring.get_password("mcp-login benchmark", "token")
with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
    http.post({url!r}, json={{}}, headers={{"Authorization": "Bearer " + token}}).raise_for_status()
"""

LEAN_SYNC = """
import httpx2
from keyring.backends.SecretService import Keyring
token = Keyring().get_password("mcp-login benchmark", "token")
with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
    http.post({url!r}, json={{}}, headers={{"Authorization": "Bearer " + token}}).raise_for_status()
"""

OURS_SYNC = """
import httpx2
from mcp_login import OAuth
with httpx2.Client(transport=httpx2.MockTransport(answer), auth=OAuth({url!r})) as http:
    http.post({url!r}, json={{}}).raise_for_status()
"""

FLOOR_ASYNC = """
import asyncio, httpx2, keyring
async def main():
    token = keyring.get_password("mcp-login benchmark", "token")
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        (await http.post({url!r}, json={{}}, headers={{"Authorization": "Bearer " + token}})).raise_for_status()
asyncio.run(main())
"""

OURS_ASYNC = """
import asyncio, httpx2
from mcp_login import OAuth
async def main():
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), auth=OAuth({url!r})) as http:
        (await http.post({url!r}, json={{}})).raise_for_status()
asyncio.run(main())
"""

TOKEN = "benchmark-token-" + "x" * 800


async def store() -> None:
    """One record of ours and one bare entry, both with the same token."""
    import keyring

    from mcp_login import KeychainStorage
    from mcp_login.protocol.client import ClientInformation
    from mcp_login.storage.record import Record

    keyring.set_password("mcp-login benchmark", "token", TOKEN)
    record = Record(
        server_url=URL,
        issuer="https://auth.example.com",
        client=ClientInformation("https://auth.example.com", "client", "dynamic"),
        token_endpoint="https://auth.example.com/token",
        access_token=TOKEN,
        refresh_token="refresh-" + "x" * 100,
        resource=URL,
        expires_at=time.time() + 86400,
        obtained_at=time.time(),
    )
    await KeychainStorage().save(record.key, record.dump())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=41)
    parser.add_argument("--child-python", default=sys.executable, help="the interpreter whose environment is measured")
    options = parser.parse_args()
    asyncio.run(store())

    def child(script: str) -> float:
        source = ASK.format(token=TOKEN) + script.format(url=URL)
        begin = time.perf_counter()
        subprocess.run([options.child_python, "-c", source], check=True, env=os.environ)
        return time.perf_counter() - begin

    for kind, scripts in (
        ("sync", {"floor": FLOOR_SYNC, "mcp-login": OURS_SYNC, "floor, backend by name": LEAN_SYNC}),
        ("async", {"floor": FLOOR_ASYNC, "mcp-login": OURS_ASYNC}),
    ):
        if sys.platform != "linux":
            scripts.pop("floor, backend by name", None)
        for script in scripts.values():
            child(script)  # compiles what isn't compiled yet
        times = interleaved({name: lambda s=script: child(s) for name, script in scripts.items()}, options.runs)
        print(f"\nWhole process, {kind}, {options.runs} interleaved runs\n\n{table(times, 'floor')}")


if __name__ == "__main__":
    main()
