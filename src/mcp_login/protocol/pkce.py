"""Proof Key for Code Exchange, with S256 alone (RFC 7636)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import sha256

__all__ = ["CODE_CHALLENGE_METHOD", "code_challenge", "code_verifier", "proof_parameters"]

#: OAuth 2.1 section 4.1.1: the method that a client capable of it must use. "plain" is not offered.
CODE_CHALLENGE_METHOD = "S256"

# RFC 7636 section 4.1: code-verifier = 43*128unreserved
_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")


def code_verifier(random_bytes: bytes) -> str:
    """The code verifier made of `random_bytes`: base64url without padding (RFC 7636 sections 4.1 and 7.1).

    Raises `ValueError` unless there are 32 to 96 of them, which give the 43 to 128 characters that the document allows.
    """
    if not 32 <= len(random_bytes) <= 96:
        raise ValueError(f"a code verifier is made of 32 to 96 random bytes, not of {len(random_bytes)}")
    return _base64url(random_bytes)


def code_challenge(verifier: str) -> str:
    """The S256 code challenge of `verifier` (RFC 7636 section 4.2).

    Raises `ValueError` where that is no code verifier.
    """
    if _VERIFIER.fullmatch(verifier) is None:
        raise ValueError("a code verifier has 43 to 128 letters, digits, '-', '.', '_' and '~'")
    return _base64url(sha256(verifier.encode("ascii")).digest())


def proof_parameters(verifier: str) -> dict[str, str]:
    """What an authorization request says of `verifier` (RFC 7636 section 4.3)."""
    return {"code_challenge": code_challenge(verifier), "code_challenge_method": CODE_CHALLENGE_METHOD}


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
