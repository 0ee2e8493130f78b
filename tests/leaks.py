"""Looks for keys and tokens in this repository: `python tests/leaks.py [FOLDER]`.

The lines of all files that git knows or would add, and all lines that any commit up to HEAD ever added, are given to the
detectors of detect-secrets. Nothing is sent anywhere to be tried. What is found is told by kind and place, not by value.

There is no list of exceptions to keep: a test's own value says that it was made up (`MADE_UP`), and what a document has
published (`PUBLISHED`) is no secret. Passwords that look like words are left to ruff (S105 to S107).

The exit status is 0 if there is nothing, 1 if there is something, and 77 if this is no clone of the repository.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from detect_secrets.plugins import high_entropy_strings
from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["MADE_UP", "PUBLISHED", "findings", "main"]

ROOT = Path(__file__).resolve().parents[1]

#: The exit status of a check that can't be made here, as automake's.
SKIPPED = 77

#: What a value has in it that was made up for a test or a text. No real key is so short, or has such a word in it by chance.
MADE_UP = re.compile(r"^.{0,7}$|secret|s3cr[e3]t|passw|hunter2|example|made-up|456789abcdef", re.IGNORECASE)

#: Values that stand in a document for everybody to read.
PUBLISHED = {
    "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM": "RFC 7636 appendix B",
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk": "RFC 7636 appendix B",
    "7418dfb49799e0254ffa607dd8adbbba16d4254d69d6bff05b58055853848d79": "RFC 7636 appendix B, the octets in hexadecimal",
    "cf136dc3c1fc93f31185e5885805d": "RFC 7591 section 3.2.1",
    "czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3": "RFC 6749 section 2.3.1",
    "x1848ZT64p4IirMPT0R-X3141MFPTuBX-VFL_cvaplMH58": "RFC 9207 section 2.1",
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8": "the octets 0 to 31",
    "gho_16C7e42F292c6912E7710c838347Ae178B4a": "GitHub's documentation of its token answer",
}

FORMATS = (
    AWSKeyDetector(),
    AzureStorageKeyDetector(),
    BasicAuthDetector(),
    DiscordBotTokenDetector(),
    GitHubTokenDetector(),
    GitLabTokenDetector(),
    JwtTokenDetector(),
    MailchimpDetector(),
    NpmDetector(),
    OpenAIDetector(),
    PrivateKeyDetector(),
    PypiTokenDetector(),
    SendGridDetector(),
    SlackDetector(),
    SquareOAuthDetector(),
    StripeDetector(),
    TelegramBotTokenDetector(),
    TwilioKeyDetector(),
)
RANDOM = (high_entropy_strings.Base64HighEntropyString(), high_entropy_strings.HexHighEntropyString())


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "core.quotePath=false", *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise OSError(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout


def _lines_of_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Each line that git has or would add, as it is in the folder, with its place."""
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in sorted(set(filter(None, listed.split("\0")))):
        path = folder / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            text = content.decode("utf-8", "replace")
            yield from ((line, f"{name}:{number}") for number, line in enumerate(text.split("\n"), 1))


def _lines_of_commits(folder: Path) -> Iterator[tuple[str, str]]:
    """Each line that a commit added, with its place: merges included, to each of their parents."""
    options = ["-p", "-U0", "-m", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"]
    options += ["--src-prefix=a/", "--dst-prefix=b/", "--format=%x01%h"]
    commit = name = ""
    for line in _git(folder, "log", *options, "HEAD").split("\n"):
        if line.startswith("\1"):
            commit = line[1:]
        elif line.startswith("+++ b/"):
            name = line.removeprefix("+++ b/").rstrip("\t")  # after a name with a space
        elif line.startswith("+"):
            yield line[1:], f"{name} in the commit {commit}"


def _of_formats(line: str) -> Iterator[tuple[str, str]]:
    for detector in FORMATS:
        for pattern in detector.denylist:
            for match in pattern.finditer(line):
                # a detector may look closer than its pattern
                if any(detector.analyze_string(match[0])):
                    # of an address the password; else all of it, as some patterns have but a prefix for a group
                    yield detector.secret_type, match[1] if isinstance(detector, BasicAuthDetector) else match[0]


def _of_randomness(line: str) -> Iterator[tuple[str, str]]:
    for detector in RANDOM:
        for value in detector.analyze_string(line):
            if detector.calculate_shannon_entropy(value) > detector.entropy_limit:
                yield detector.secret_type, value


def findings(lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What looks like a secret in `lines`, which come with their places: kind and place of each."""
    first: dict[str, str] = {}
    for line, place in lines:
        first.setdefault(line, place)
    for line, place in first.items():
        for kind, value in (*_of_formats(line), *_of_randomness(line)):
            if not MADE_UP.search(value) and not any(known in value for known in PUBLISHED):
                yield f"{place}: {kind}"


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    folder = Path(arguments[0]).resolve() if arguments else ROOT
    if shutil.which("git") is None or not folder.joinpath(".git").exists():
        sys.stdout.write("there is no git here, or this is no clone\n")
        return SKIPPED
    found = list(dict.fromkeys(findings((*_lines_of_files(folder), *_lines_of_commits(folder)))))
    sys.stdout.writelines(f"{finding}\n" for finding in found)
    if found:
        sys.stdout.write(
            "Revoke what is real. What was made up has to say so: see MADE_UP and PUBLISHED in tests/leaks.py\n"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
