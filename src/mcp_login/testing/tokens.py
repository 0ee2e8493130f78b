"""Codes and tokens: what was issued, to whom, for what, and whether it still counts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .site import Site

__all__ = ["AccessToken", "Authorization", "Grant", "Issued", "TokenRefused", "Tokens"]

_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")


@dataclass(frozen=True, slots=True)
class Authorization:
    """One authorization request that a person (or `auto_approve`) decided."""

    client_id: str
    redirect_uri: str
    requested_scopes: tuple[str, ...]
    granted_scopes: tuple[str, ...]
    resource: str | None
    decision: Literal["approved", "denied"]


@dataclass(slots=True)
class Grant:
    """One approved authorization request: the family that all tokens of a login belong to."""

    issuer: str
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    requested_scopes: tuple[str, ...]
    resource: str
    code_challenge: str = field(repr=False)
    refreshable: bool
    revoked: bool = False


@dataclass(slots=True)
class _Code:
    grant: Grant
    expires_at: float
    used: bool = False


@dataclass(slots=True)
class AccessToken:
    """An access token's meaning."""

    grant: Grant
    scopes: tuple[str, ...]
    #: Seconds since the epoch.
    expires_at: float
    revoked: bool = False


@dataclass(slots=True)
class _RefreshToken:
    grant: Grant
    expires_at: float | None
    rotated_at: float | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    """The answer to a token request. `refresh_token`: None where the client keeps the one it has, or gets none."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    scopes: tuple[str, ...]
    requested_scopes: tuple[str, ...]
    expires_in: float


class TokenRefused(Exception):
    """An OAuth error of the token or revocation endpoint (RFC 6749 section 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


class Tokens:
    """All that the authorization server has issued. Safe to use from several threads."""

    def __init__(self, site: Site, clock: Callable[[], float]) -> None:
        self._site = site
        self._clock = clock
        self._lock = threading.RLock()
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, AccessToken] = {}
        self._refresh: dict[str, _RefreshToken] = {}
        self.reuse_detections: int = 0

    def secrets(self) -> set[str]:
        """Every code and token issued so far: what no log may hold."""
        with self._lock:
            return {*self._codes, *self._access, *self._refresh}

    def new_code(self, grant: Grant) -> str:
        """A single-use authorization code for `grant`."""
        code = f"code-{secrets.token_urlsafe(24)}"
        with self._lock:
            self._codes[code] = _Code(grant, self._clock() + self._site.configuration.authorization_code_lifetime)
        return code

    def issue(self, grant: Grant) -> Issued:
        """The tokens of `grant`, as if its code had been exchanged."""
        with self._lock:
            return self._issue(grant, grant.scopes, self._new_refresh_token(grant))

    def redeem(self, code: str, *, client_id: str, redirect_uri: str, verifier: str, resource: str | None) -> Issued:
        """Exchange `code` (RFC 6749 section 4.1.3, RFC 7636 section 4.6). It counts once, whether the rest fits or not."""
        with self._lock:
            known = self._codes.get(code)
            if known is None or not self._belongs(known.grant, client_id):
                raise TokenRefused("invalid_grant", "The code is unknown, or was issued to another client.")
            if known.used:
                # RFC 6749 section 4.1.2: tokens issued for a code that comes back should be revoked.
                known.grant.revoked = True
                raise TokenRefused("invalid_grant", "The code was used before.")
            known.used = True
            grant = known.grant
            if self._clock() >= known.expires_at:
                raise TokenRefused("invalid_grant", "The code has expired.")
            if redirect_uri != grant.redirect_uri:
                raise TokenRefused("invalid_grant", "The redirect_uri is not that of the authorization request.")
            if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(_challenge(verifier), grant.code_challenge):
                raise TokenRefused("invalid_grant", "The code_verifier does not fit the code_challenge.")
            self._check_resource(grant, resource)
            return self._issue(grant, grant.scopes, self._new_refresh_token(grant))

    def refresh(self, token: str, *, client_id: str, scopes: tuple[str, ...] | None, resource: str | None) -> Issued:
        """Exchange a refresh token (RFC 6749 section 6), by the configured rules of rotation."""
        settings = self._site.configuration
        dead = TokenRefused(settings.dead_refresh_token_error, settings.dead_refresh_token_description)
        with self._lock:
            now = self._clock()
            known = self._refresh.get(token)
            if known is None or not self._belongs(known.grant, client_id):
                raise dead
            grant = known.grant
            if grant.revoked or known.revoked or (known.expires_at is not None and now >= known.expires_at):
                raise dead
            if known.rotated_at is not None and now - known.rotated_at >= settings.rotation_grace:
                if settings.reuse_detection:
                    self.reuse_detections += 1
                    grant.revoked = True
                raise dead
            if scopes is not None and not set(scopes) <= set(grant.scopes):
                raise TokenRefused("invalid_scope", "The scope is more than what was granted.")
            self._check_resource(grant, resource)
            return self._refreshed(known, scopes)

    def _refreshed(self, known: _RefreshToken, scopes: tuple[str, ...] | None) -> Issued:
        settings = self._site.configuration
        grant = known.grant
        successor = None
        if settings.refresh_revokes_access_tokens:
            self._revoke_access(grant)
        if settings.rotation:
            successor = self._new_refresh_token(grant)
            if known.rotated_at is None:
                known.rotated_at = self._clock()
        return self._issue(grant, scopes or grant.scopes, successor)

    def find(self, token: str) -> AccessToken | None:
        """The access token's meaning while it counts, else None."""
        with self._lock:
            known = self._access.get(token)
            if known is None or known.revoked or known.grant.revoked or self._clock() >= known.expires_at:
                return None
            return known if known.grant.issuer == self._site.issuer else None

    def revoke(self, token: str, *, client_id: str) -> None:
        """RFC 7009: an access token alone, a refresh token with its whole family. Unknown ones are no error."""
        with self._lock:
            access, refresh = self._access.get(token), self._refresh.get(token)
            found = access or refresh
            if found is None:
                return
            if not self._belongs(found.grant, client_id):
                raise TokenRefused("invalid_grant", "The token was issued to another client.")
            if access is not None:
                access.revoked = True
            else:
                found.grant.revoked = True

    def revoke_access_tokens(self) -> None:
        """Every access token is dead at once; refresh tokens live."""
        with self._lock:
            for token in self._access.values():
                token.revoked = True

    def revoke_refresh_tokens(self) -> None:
        """Every refresh token is dead at once; access tokens live."""
        with self._lock:
            for token in self._refresh.values():
                token.revoked = True

    def expire_access_tokens(self) -> None:
        """Every access token has expired, whatever the clock says."""
        with self._lock:
            for token in self._access.values():
                token.expires_at = self._clock()

    def _belongs(self, grant: Grant, client_id: str) -> bool:
        # An issuer that has moved is another authorization server: it knows nothing of the old one's tokens.
        return grant.client_id == client_id and grant.issuer == self._site.issuer

    def _check_resource(self, grant: Grant, resource: str | None) -> None:
        rule = self._site.configuration.resource_parameter
        if rule == "required" and resource is None:
            raise TokenRefused("invalid_target", "The resource parameter is missing (RFC 8707 section 2.2).")
        if rule == "refused":
            if resource is not None:
                raise TokenRefused("invalid_target", "AADSTS9010010: The resource parameter doesn't match the scopes.")
            return
        if resource is not None and resource != grant.resource:
            raise TokenRefused("invalid_target", "The resource is not that of the authorization request.")

    def _revoke_access(self, grant: Grant) -> None:
        for token in self._access.values():
            if token.grant is grant:
                token.revoked = True

    def _new_refresh_token(self, grant: Grant) -> str | None:
        if not grant.refreshable:
            return None
        lifetime = self._site.configuration.refresh_token_lifetime
        token = f"refresh-{secrets.token_urlsafe(32)}"
        self._refresh[token] = _RefreshToken(grant, None if lifetime is None else self._clock() + lifetime)
        return token

    def _issue(self, grant: Grant, scopes: tuple[str, ...], refresh_token: str | None) -> Issued:
        settings = self._site.configuration
        # Three quarters of the characters of base64url are bytes.
        token = f"access-{secrets.token_urlsafe(max(32, settings.access_token_length * 3 // 4))}"
        self._access[token] = AccessToken(grant, scopes, self._clock() + settings.access_token_lifetime)
        return Issued(token, refresh_token, scopes, grant.requested_scopes, settings.access_token_lifetime)


def _challenge(verifier: str) -> str:
    """RFC 7636 section 4.6. Not the client's implementation, on purpose: a server with that one would share its mistakes."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).decode().rstrip("=")
