"""Looks into the Secret Service past the library. Only for processes whose Secret Service is a test's own."""

from __future__ import annotations

from contextlib import closing

import secretstorage

__all__ = ["passwords", "remove_all"]


def passwords() -> dict[str, str]:
    """Service names and passwords of the library's items."""
    with closing(secretstorage.dbus_init()) as bus:
        items = secretstorage.search_items(bus, {"username": "mcp-login"})
        return {item.get_attributes()["service"]: item.get_secret().decode() for item in items}


def remove_all() -> None:
    """Delete the library's items."""
    with closing(secretstorage.dbus_init()) as bus:
        for item in list(secretstorage.search_items(bus, {"username": "mcp-login"})):
            item.delete()
