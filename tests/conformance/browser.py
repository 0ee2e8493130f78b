"""The person's browser of the conformance runs: one GET, redirects followed up to the client's own loopback listener.

Started by Python's `webbrowser` through the environment variable BROWSER. No proxy is asked: everything is on loopback.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

__all__ = ["visit"]


def visit(url: str, seconds: float = 20.0) -> None:
    """GET `url`, following redirects, with at most `seconds` for each answer. An error page counts as visited, too."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=seconds) as page:
            page.read()
    except urllib.error.HTTPError as error:
        error.close()


if __name__ == "__main__":
    visit(sys.argv[1])
