"""Somebody at the Secret Service, from a process of its own: `python -m tests.real.keyring_hand lock|unlock|delete|save|log_out`.

`unlock`, `save` and `log_out` read the password, the record and the URL from standard input.
Only where the Secret Service is a test's own.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing

import secretstorage
from secretstorage.util import DBusAddressWrapper, format_secret, open_session

from mcp_login import KeychainStorage
from mcp_login.storage.index import Index, IndexEntry
from mcp_login.storage.record import Record
from mcp_login.sync import logout
from tests.real import keychain_items

__all__ = ["save"]

#: gnome-keyring's own way to unlock without a window: other ways show a prompt, and there is no screen.
_UNLOCKER = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface"


def save(text: str) -> None:
    """Leave a login as the library does: the record, and its line in the list of logins."""
    record = Record.parse(text)
    storage = KeychainStorage()
    asyncio.run(storage.save(record.key, text))
    Index().put(
        IndexEntry(
            record.server_url,
            record.account,
            storage.name,
            record.issuer,
            record.resource,
            record.granted_scopes,
            record.obtained_at,
        )
    )


def _main(do: str) -> None:
    if do == "delete":
        keychain_items.remove_all()
    elif do == "save":
        save(sys.stdin.read())
    elif do == "log_out":
        logout(sys.stdin.read())
    else:
        with closing(secretstorage.dbus_init()) as bus:
            collection = secretstorage.get_default_collection(bus)
            if do == "lock":
                collection.lock()
            else:
                secret = format_secret(open_session(bus), sys.stdin.read().encode(), "text/plain")
                service = DBusAddressWrapper("/org/freedesktop/secrets", _UNLOCKER, bus)
                service.call("UnlockWithMasterPassword", "o(oayays)", collection.collection_path, secret)
            assert collection.is_locked() == (do == "lock")


if __name__ == "__main__":
    _main(sys.argv[1])
