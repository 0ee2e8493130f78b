"""The documents and their blocks of code. What a block is for is said by a comment right before it:

`<!-- not run: REASON -->`   it is only compiled
`<!-- run with: mcp1 -->`    it wants the interpreter of that real part (tests/real/parts.py)
`<!-- file: NAME -->`        it is kept under that name beside the tests of its document
`<!-- attack: NAME -->`      it is a file of tests/hostile, and run as those are

A block of `text` right after another block is what that one prints; a line `...` in it stands for any lines, `…` for any text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCUMENTS", "ROOT", "Block", "anchors", "blocks", "matches", "text_of", "without_code"]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.joinpath("docs").rglob("*.md")] if "build" not in path.parts
)

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>not run|run with|file|attack): (?P<words>[^\n]+?) -->\n)?```(?P<language>[a-z]+)\n(?P<code>.*?)^```$"
    r"(?:\n\n```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block of code in a document, with what it prints, if that is shown."""

    document: Path
    line: int
    language: str
    code: str
    output: str | None
    mark: str | None
    words: str | None

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def is_test(self) -> bool:
        """Whether pytest runs it."""
        return re.search(r"^(async )?def test_|^class Test", self.code, re.MULTILINE) is not None


def blocks(*languages: str) -> list[Block]:
    """The blocks of these languages in all documents."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("code")) + 1
            block = Block(
                document, line, match["language"], match["code"], match["output"], match["mark"], match["words"]
            )
            found += [block] if block.language in languages else []
    return found


def matches(shown: str, printed: str) -> bool:
    """Whether a program printed what a document shows."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else re.escape(line.rstrip()).replace("…", ".*") + r"[ ]*\n"
        for line in shown.splitlines()
    )
    return re.fullmatch(pattern, printed.replace("\r\n", "\n")) is not None


def text_of(name: str) -> str:
    """The page `name` of docs/."""
    return ROOT.joinpath("docs", name).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    """`text` without its blocks."""
    return _FENCED.sub("", text)


def anchors(document: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
