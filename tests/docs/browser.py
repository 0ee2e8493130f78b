"""The browser of the documents' programs and commands: it approves on the embedded server's page, and follows redirects.

Started by Python's `webbrowser` through the environment variable BROWSER, in the background as real ones.
"""

from __future__ import annotations

import sys
import threading
import time

from mcp_login.testing.person import Person

__all__ = ["approve"]

#: How long a listener may take to start after the browser was opened (FastMCP's does), in seconds.
LIMIT = 10.0


def approve(url: str) -> None:
    """Open `url`, approve what is asked there, and stay until the last page is there."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        person = Person.approves()
        person(url)
        person.join()
        if not any(isinstance(failure, OSError) for failure in person.failures):
            return
        threading.Event().wait(0.1)


if __name__ == "__main__":
    approve(sys.argv[1])
