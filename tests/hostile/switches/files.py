"""The defences of `storage/private_files.py`, and how each is switched off."""

from __future__ import annotations

from tests.hostile.attack import Switch, nothing

__all__ = ["FOLLOWED_NEVER", "MODES", "OWN_FILES", "OWN_FOLDERS", "WAITED_FOR_NEVER"]

_MODULE = "mcp_login.storage.private_files"

#: That others may do nothing with what is made.
MODES = Switch(
    "0700 and 0600",
    (
        (f"{_MODULE}.FOLDER_MODE", 0o755),
        (f"{_MODULE}.FILE_MODE", 0o644),
        (f"{_MODULE}.require_own_file", nothing),
    ),
)

#: That a folder is one's own, and nobody else's to write to or to lead elsewhere.
OWN_FOLDERS = Switch("folders of one's own", ((f"{_MODULE}.require_own_folder", nothing),))

#: That a file is one's own, a file, and open to nobody else.
OWN_FILES = Switch("files of one's own", ((f"{_MODULE}.require_own_file", nothing),))

#: That a link in a file's place is not followed.
FOLLOWED_NEVER = Switch("O_NOFOLLOW", (("os.O_NOFOLLOW", 0),))

#: That a pipe in a file's place is not waited for.
WAITED_FOR_NEVER = Switch("O_NONBLOCK", (("os.O_NONBLOCK", 0),))
