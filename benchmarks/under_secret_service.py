"""Run a Python script of this folder with a Secret Service of its own: `python benchmarks/under_secret_service.py SCRIPT ...`.

Linux with gnome-keyring and dbus. The keychain is new and empty, and gone afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

UNLOCK = 'echo | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1; exec "$@"'


def main() -> int:
    missing = [name for name in ("dbus-run-session", "gnome-keyring-daemon") if shutil.which(name) is None]
    if missing:
        print(f"{', '.join(missing)} not found: install gnome-keyring and dbus", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        runtime = Path(folder, "run")
        runtime.mkdir(mode=0o700)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DBUS_", "XDG_"))},
            "HOME": folder,
            "XDG_DATA_HOME": f"{folder}/data",
            "XDG_RUNTIME_DIR": str(runtime),
        }
        command = ["dbus-run-session", "--", "sh", "-c", UNLOCK, "sh", sys.executable, *sys.argv[1:]]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
