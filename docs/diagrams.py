"""Draws images/login-sequence.svg: `python docs/diagrams.py`. A test compares the file with what this draws.

Standard library only. The picture brings its own background, since it is shown as an image and can't know which theme the
page around it has; it follows the system's preference for dark or light.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

__all__ = ["IMAGE", "draw"]

IMAGE = Path(__file__).with_name("images") / "login-sequence.svg"

TITLE = "How a login works, as a sequence of messages"
DESCRIPTION = (
    "Your program sends a request to the MCP server, which answers 401 with a challenge. mcp-login reads the metadata of the "
    "resource and of the authorization server, binds a listener, registers, and opens the browser. The person approves; the "
    "browser brings the code to the listener. mcp-login exchanges it for tokens, saves them, and the request is sent again "
    "with the token."
)

ACTORS = ("Your program", "mcp-login", "Browser", "MCP server", "Authorization server")
PROGRAM, LIBRARY, BROWSER, SERVER, ISSUER = range(5)


@dataclass(frozen=True)
class Message:
    """An arrow; `answer` is drawn dashed."""

    sender: int
    receiver: int
    text: str
    answer: bool = False


@dataclass(frozen=True)
class Note:
    """What one actor does by itself."""

    actor: int
    text: str


@dataclass(frozen=True)
class Step:
    """The start of a step of the page's table."""

    text: str


SEQUENCE: tuple[Message | Note | Step, ...] = (
    Step("1  Challenge"),
    Message(PROGRAM, SERVER, "request, no token yet"),
    Message(SERVER, PROGRAM, "401, WWW-Authenticate: Bearer resource_metadata=…", answer=True),
    Step("2  Resource metadata"),
    Message(LIBRARY, SERVER, "GET /.well-known/oauth-protected-resource"),
    Message(SERVER, LIBRARY, "resource, authorization_servers", answer=True),
    Step("3, 4  Authorization server, PKCE"),
    Message(LIBRARY, ISSUER, "GET /.well-known/oauth-authorization-server"),
    Message(ISSUER, LIBRARY, "issuer, endpoints, S256", answer=True),
    Step("5, 6  Listener, registration"),
    Note(LIBRARY, "listen on 127.0.0.1"),
    Message(LIBRARY, ISSUER, "register, unless the client is known"),
    Message(ISSUER, LIBRARY, "client_id", answer=True),
    Step("7  Authorization"),
    Message(LIBRARY, BROWSER, "open the address"),
    Message(BROWSER, ISSUER, "state, code_challenge, resource, scope"),
    Note(BROWSER, "the person approves"),
    Step("8  Answer"),
    Message(ISSUER, BROWSER, "302 to 127.0.0.1", answer=True),
    Message(BROWSER, LIBRARY, "code, state, iss"),
    Note(LIBRARY, "check state, then iss"),
    Step("9, 10  Exchange, record"),
    Message(LIBRARY, ISSUER, "code, code_verifier, resource"),
    Message(ISSUER, LIBRARY, "access token, refresh token", answer=True),
    Note(LIBRARY, "save in the keychain"),
    Step("Done"),
    Message(PROGRAM, SERVER, "the same request, with the token"),
    Message(SERVER, PROGRAM, "200", answer=True),
)

WIDTH = 980
LEFT, COLUMN = 110, 190
HEAD = 70
ROW = {Step: 42, Message: 36, Note: 42}

STYLE = """
  svg { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; }
  .paper { fill: #ffffff; stroke: #d0d4da; }
  .band { fill: #f1f4f8; }
  .actor { fill: #1f4e8c; }
  .actor-name { fill: #ffffff; font-size: 13px; font-weight: 600; text-anchor: middle; }
  .life { stroke: #9aa3ad; stroke-dasharray: 2 5; }
  .text { fill: #1b2430; text-anchor: middle; paint-order: stroke; stroke: #ffffff; stroke-width: 5px; }
  .step { fill: #1f4e8c; font-weight: 600; }
  .line { stroke: #1b2430; stroke-width: 1.4; fill: none; }
  .answer { stroke-dasharray: 6 4; }
  .head { fill: #1b2430; }
  .note { fill: #fff4d6; stroke: #b98a1d; }
  .note-text { fill: #3d2f06; text-anchor: middle; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #14181f; stroke: #39424e; }
    .band { fill: #1d232d; }
    .actor { fill: #8db8f2; }
    .actor-name { fill: #0b1220; }
    .life { stroke: #66707c; }
    .text { fill: #e6ebf2; stroke: #14181f; }
    .step { fill: #9cc3f7; }
    .line { stroke: #e6ebf2; }
    .head { fill: #e6ebf2; }
    .note { fill: #3b3113; stroke: #d3a53a; }
    .note-text { fill: #fbe9b7; }
  }
"""


def _x(actor: int) -> int:
    return LEFT + actor * COLUMN


def _message(message: Message, y: int) -> list[str]:
    start, end = _x(message.sender), _x(message.receiver)
    towards = 1 if end > start else -1
    tip = end - towards * 2
    kind = "line answer" if message.answer else "line"
    back = tip - towards * 9
    return [
        f'<text class="text" x="{(start + end) // 2}" y="{y - 7}">{escape(message.text)}</text>',
        f'<path class="{kind}" d="M{start} {y}H{back}"/>',
        f'<path class="head" d="M{tip} {y}L{back} {y - 5}V{y + 5}Z"/>',
    ]


def _note(note: Note, y: int) -> list[str]:
    width = 176
    left = _x(note.actor) - width // 2
    return [
        f'<rect class="note" x="{left}" y="{y - 22}" width="{width}" height="28" rx="5"/>',
        f'<text class="note-text" x="{_x(note.actor)}" y="{y - 3}">{escape(note.text)}</text>',
    ]


def _step(step: Step, y: int) -> list[str]:
    return [
        f'<rect class="band" x="1" y="{y - 20}" width="{WIDTH - 2}" height="26"/>',
        f'<text class="step" x="14" y="{y - 2}">{escape(step.text)}</text>',
    ]


def draw() -> str:
    """The picture as SVG."""
    bands, marks = [], []
    y = HEAD
    for part in SEQUENCE:
        y += ROW[type(part)]
        match part:
            case Step():
                bands += _step(part, y)
            case Message():
                marks += _message(part, y)
            case Note():
                marks += _note(part, y)
    height = y + 28
    lives = [f'<path class="life" d="M{_x(actor)} 54V{height - 12}"/>' for actor in range(len(ACTORS))]
    heads = []
    for actor, name in enumerate(ACTORS):
        heads.append(f'<rect class="actor" x="{_x(actor) - 84}" y="18" width="168" height="36" rx="7"/>')
        heads.append(f'<text class="actor-name" x="{_x(actor)}" y="41">{escape(name)}</text>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
            f' width="{WIDTH}" height="{height}" role="img" aria-labelledby="title description">',
            f'<title id="title">{escape(TITLE)}</title>',
            f'<desc id="description">{escape(DESCRIPTION)}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
            *bands,
            *lives,
            *heads,
            *marks,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    IMAGE.write_text(draw(), encoding="utf-8")
    print(IMAGE.name)
