"""A login without any HTTP client: `python examples/login_script.py URL`.

For programs that only want the token. It logs in, asks for the token again as another process would, and logs out.
"""

from __future__ import annotations

import asyncio
import sys

from mcp_login import AuthError, LoginRequired, access_token, login, logout


async def main(url: str) -> None:
    credentials = await login(url)
    print("issuer:", credentials.issuer)
    print("scopes:", " ".join(credentials.scopes) or "(none)")

    # Stored or refreshed; it never opens a browser.
    token = await access_token(url, min_valid_for=60)
    print("token:", len(token), "characters")

    result = await logout(url)
    print("revoked at the server:", {True: "yes", False: f"no ({result.error})", None: "not offered"}[result.revoked])
    try:
        await access_token(url)
    except LoginRequired:
        print("logged out")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} URL")
    try:
        asyncio.run(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    except AuthError as error:
        sys.exit(f"{type(error).__name__}: {error}")
