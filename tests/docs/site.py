"""Builds the site strictly and looks over what was built: `python tests/docs/site.py [FOLDER]` (build/docs).

A warning of Sphinx fails it; so do links within the site that lead nowhere, and anything that a page would load from elsewhere.
Needs the dependency group `docs`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Page", "build", "faults", "main"]

ROOT = Path(__file__).resolve().parents[2]

#: Elements whose address a browser requests by itself.
LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "input": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
#: Kinds of `link` that only tell something.
TOLD = {"author", "canonical", "help", "index", "license", "next", "prev", "search"}


class Page(HTMLParser):
    """What a page links to, what it loads, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what `tag` says."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in LOADED and LOADED[tag] in given and not TOLD & set(given.get("rel", "").split()):
            self.loaded.append(given[LOADED[tag]])
        self.loaded += re.findall(r"url\(['\"]?([^)'\"]+)", given.get("style", ""))


def build(folder: Path) -> bool:
    """Build into `folder`; whether there was no warning."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "-n",
        "--keep-going",
        "-q",
        "-E",
        "-b",
        "html",
        "docs",
        str(folder),
    ]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def faults(folder: Path) -> list[str]:
    """What is wrong with the site in `folder`, a line each."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = [] if pages else ["no page was built"]
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        found += [f"{name}: the link {link} leads nowhere" for link in page.links if _is_dead(link, path, pages)]
        found += [f"{name} loads {address}" for address in page.loaded if _is_elsewhere(address, path)]
    for path in sorted(folder.rglob("*.css")):
        loaded = re.findall(r"(?:url\(|@import )['\"]?([^)'\"\s;]+)", path.read_text(encoding="utf-8"))
        found += [f"{path.name} loads {address}" for address in loaded if urlsplit(address).scheme in ("http", "https")]
    return found


def _is_dead(link: str, path: Path, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        # an address on loopback that a text names becomes a link by itself
        return parts.scheme not in ("https", "mailto") and parts.hostname not in ("127.0.0.1", "localhost")
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if target not in pages:
        return not target.exists()
    return bool(parts.fragment) and unquote(parts.fragment) not in pages[target].anchors


def _is_elsewhere(address: str, path: Path) -> bool:
    parts = urlsplit(address)
    if parts.scheme == "data":
        return False
    return bool(parts.scheme or parts.netloc) or not (path.parent / unquote(parts.path)).resolve().exists()


def main(arguments: list[str]) -> int:
    """The command line; the exit status is 0 if all is well."""
    folder = Path(arguments[0]).resolve() if arguments else ROOT / "build" / "docs"
    shutil.rmtree(folder, ignore_errors=True)
    built = build(folder)
    wrong = faults(folder)
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    return 0 if built and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
