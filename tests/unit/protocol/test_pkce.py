"""PKCE: RFC 7636, with the vectors of its appendices A and B."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.protocol.pkce import CODE_CHALLENGE_METHOD, code_challenge, code_verifier

# RFC 7636 appendix B
OCTETS = bytes.fromhex("7418dfb49799e0254ffa607dd8adbbba16d4254d69d6bff05b58055853848d79")
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_vectors_of_appendix_b() -> None:
    """RFC 7636 appendix B."""
    assert code_verifier(OCTETS) == VERIFIER
    assert code_challenge(VERIFIER) == CHALLENGE


def test_the_method_is_s256() -> None:
    """Security considerations, "Authorization Code Protection": "clients MUST use the S256 code challenge method"."""
    assert CODE_CHALLENGE_METHOD == "S256"


@pytest.mark.parametrize("length", [0, 31, 97])
def test_too_few_or_too_many_random_bytes_are_refused(length: int) -> None:
    """RFC 7636 section 7.1: "at least 256 bits of entropy"; section 4.1: at most 128 characters."""
    with pytest.raises(ValueError, match="32 to 96"):
        code_verifier(bytes(length))


@pytest.mark.parametrize("verifier", ["", "a" * 42, "a" * 129, "a" * 42 + "=", "a" * 43 + "\n", "ä" * 43])
def test_what_is_no_verifier_has_no_challenge(verifier: str) -> None:
    """RFC 7636 section 4.1: code-verifier = 43*128unreserved. The error doesn't quote it."""
    with pytest.raises(ValueError, match="43 to 128") as raised:
        code_challenge(verifier)
    assert not verifier or verifier not in str(raised.value)


@given(st.binary(min_size=32, max_size=96))
def test_verifier_and_challenge_can_be_checked_by_a_server(random_bytes: bytes) -> None:
    """RFC 7636 section 4.6: BASE64URL-ENCODE(SHA256(ASCII(code_verifier))) == code_challenge."""
    verifier = code_verifier(random_bytes)
    assert 43 <= len(verifier) <= 128
    challenge = code_challenge(verifier)
    assert len(challenge) == 43
    assert urlsafe_b64decode(challenge + "=") == hashlib.sha256(verifier.encode("ascii")).digest()
