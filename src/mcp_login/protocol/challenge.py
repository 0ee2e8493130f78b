"""The WWW-Authenticate field: what a server asks for (RFC 9110 section 11, RFC 6750 section 3, RFC 9728 section 5.1).

    WWW-Authenticate = [ challenge *( OWS "," OWS challenge ) ]
    challenge        = auth-scheme [ 1*SP ( token68 / [ auth-param *( OWS "," OWS auth-param ) ] ) ]
    auth-param       = token BWS "=" BWS ( token / quoted-string )
    token68          = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="

The comma separates both challenges and parameters: what follows it is a parameter if it is a name and "=", else a
scheme. Broken fields are read as far as it is certain which challenge a parameter belongs to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from .scope import parse_scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MAX_LENGTH", "Challenge", "bearer_challenge", "parse_challenges"]

#: The length, in characters, of all field values together beyond which further ones are not read.
MAX_LENGTH = 65_536


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge. The names of `params` are in lower case; a parameter given twice has its first value."""

    #: In lower case.
    scheme: str
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    token68: str | None = None

    @property
    def realm(self) -> str | None:
        """RFC 9110 section 11.5."""
        return self.params.get("realm")

    @property
    def error(self) -> str | None:
        """RFC 6750 section 3.1: `invalid_token`, `insufficient_scope`, ..."""
        return self.params.get("error")

    @property
    def error_description(self) -> str | None:
        """RFC 6750 section 3. Words of the server: clean them before they are shown."""
        return self.params.get("error_description")

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that this request needs (RFC 6750 section 3)."""
        return parse_scope(self.params.get("scope"))

    @property
    def resource_metadata(self) -> str | None:
        """Where the protected resource metadata lies (RFC 9728 section 5.1). To be checked like any foreign URL."""
        return self.params.get("resource_metadata") or None


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The challenges in `values`, the values of the field's lines in order. It raises nothing and takes linear time.

    A parameter at the start of a line continues the challenge of the line before (RFC 9110 section 5.2). Values that go
    beyond `MAX_LENGTH` are not read. Implements RFC 9110 section 11.6.1.
    """
    reader = _Reader()
    length = 0
    for value in values:
        length += len(value)
        if length > MAX_LENGTH:
            break
        reader.read(value)
    return [Challenge(scheme, MappingProxyType(params), token68) for scheme, params, token68 in reader.found]


def bearer_challenge(values: Iterable[str]) -> Challenge | None:
    """The challenge that concerns an OAuth client, or None.

    Of several with the scheme Bearer the one that says most: first of all `resource_metadata`, then `error`, then
    `scope`. Where there is none, the same of DPoP (RFC 9449 section 7.1), whose parameters mean the same.
    """
    challenges = parse_challenges(values)
    for scheme in ("bearer", "dpop"):
        candidates = [challenge for challenge in challenges if challenge.scheme == scheme]
        if candidates:
            return max(candidates, key=_usefulness)
    return None


def _usefulness(challenge: Challenge) -> tuple[bool, bool, bool]:
    return challenge.resource_metadata is not None, bool(challenge.error), bool(challenge.scopes)


# Possessive quantifiers (`++`, `*+`): no pattern gives back what it took, so each takes linear time.
_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"  # RFC 9110 section 5.6.2
_SPACE = r"[ \t\r\n]*+"  # BWS and OWS; line ends where a folded field was not unfolded
_SEPARATORS = re.compile(r"[ \t\r\n,]*+")
_SPACES = re.compile(_SPACE)
_PARAM_NAME = re.compile(rf"({_NAME}){_SPACE}={_SPACE}")
_SCHEME = re.compile(rf"({_NAME})(?=[ \t\r\n,]|\Z)")
_TOKEN68 = re.compile(rf"([A-Za-z0-9\-._~+/]++=*+)(?={_SPACE}(?:,|\Z))")
_QUOTED = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)  # RFC 9110 section 5.6.4
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
# Our own leniency: servers write URLs without quotes, though ":" and "/" are no token characters.
_UNQUOTED = re.compile(r'[^ \t\r\n,"]++')
_SCHEME_AND_PARAM = re.compile(rf"{_NAME}[ \t\r\n]++{_NAME}{_SPACE}=")
_JUNK = re.compile(r'[^,"]++')


class _Reader:
    """Reads field values one after the other. `_params` belong to the challenge that was last found, None to none."""

    def __init__(self) -> None:
        self.found: list[tuple[str, dict[str, str], str | None]] = []
        self._params: dict[str, str] | None = None
        self._text = ""
        self._at = 0

    def read(self, value: str) -> None:
        self._text, self._at = value, 0
        while self._take(_SEPARATORS) is not None and self._at < len(value):
            if not (self._take_params() or self._take_challenge()):
                # Perhaps a scheme that can't be read: what follows may be its parameters, so it is nobody's.
                self._params = None
                self._skip_element()

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return match

    def _take_challenge(self) -> bool:
        scheme = self._take(_SCHEME)
        if scheme is None:
            return False
        params: dict[str, str] = {}
        self._take(_SPACES)
        token68 = self._take(_TOKEN68)
        self.found.append((scheme[1].lower(), params, token68[1] if token68 else None))
        # A challenge has a token68 or parameters, never both.
        self._params = None if token68 else params
        if not token68 and not self._at_end_of_element() and not self._take_params():
            self._params = None
            self._skip_element()
        return True

    def _take_params(self) -> bool:
        """Take one parameter, and those that follow it without the comma that belongs between them."""
        name = self._take(_PARAM_NAME)
        if name is None:
            return False
        while name is not None:
            value = self._take_value()
            if value is not None and self._params is not None:
                self._params.setdefault(name[1].lower(), value)
            self._take(_SPACES)
            name = self._take(_PARAM_NAME)
        if not self._at_end_of_element():
            if _SCHEME_AND_PARAM.match(self._text, self._at):
                # The comma before a challenge is missing: its parameters aren't ours.
                self._params = None
            self._skip_element()
        return True

    def _take_value(self) -> str | None:
        quoted = self._take(_QUOTED)
        if quoted is not None:
            return _QUOTED_PAIR.sub(r"\1", quoted[1])
        unquoted = self._take(_UNQUOTED)
        return unquoted[0] if unquoted else None

    def _at_end_of_element(self) -> bool:
        return self._at >= len(self._text) or self._text[self._at] == ","

    def _skip_element(self) -> None:
        """Go to the next comma that is in no string. A string that doesn't end goes on to the end of the value."""
        while not self._at_end_of_element():
            if self._take(_JUNK) is None and self._take(_QUOTED) is None:
                self._at = len(self._text)
