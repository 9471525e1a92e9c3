"""Checks JSON Web Tokens (RFC 7519) of one issuer, with the keys that it publishes (RFC 7517)."""

import asyncio
import logging
import time
from http.client import HTTPException
from typing import Any, Final

from runtime.callers.caller import Caller, Scope, check_name
from runtime.callers.errors import Unauthenticated
from runtime.settings import Settings
from schemas.errors import Unavailable

log = logging.getLogger(__name__)

# Only signatures that the published keys can check but not make.
_ALGORITHMS: Final = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
]
_REFRESH_SECONDS: Final = 300.0
# While the issuer cannot be reached, its keys stay in use for this long.
_KEEP_SECONDS: Final = 3600.0
# Tokens with unknown keys must not make us call the issuer all the time.
_COOLDOWN_SECONDS: Final = 10.0
_FETCH_SECONDS: Final = 5.0
_LEEWAY_SECONDS: Final = 30


class Issuer:
    """Checks tokens. It fetches the issuer's keys when the first token arrives, then every 5 min.

    A token with a key that is not known yet fetches them at once, at most every 10 s.
    """

    def __init__(self, settings: Settings) -> None:
        import jwt

        self._name = settings.http_jwt_issuer
        self._audience = settings.http_jwt_audience
        self._client = jwt.PyJWKClient(
            settings.http_jwt_keys_url, cache_jwk_set=False, timeout=_FETCH_SECONDS
        )
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def caller(self, token: str) -> Caller:
        """Return the caller that `token` names.

        Raises `Unauthenticated` for a token that is not valid here, and `Unavailable` if the
        issuer's keys are needed and cannot be fetched.
        """
        import jwt

        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._audience,
                issuer=self._name,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired") from None
        except jwt.PyJWTError as error:
            # Its text may quote the token.
            log.info("refused a token: %s", type(error).__name__)
            raise Unauthenticated("the token is not valid for this service") from None
        try:
            return Caller(check_name(str(claims["sub"])), _scopes(claims))
        except ValueError as error:
            raise Unauthenticated(f"the subject of the token cannot be used: {error}") from None

    async def _key(self, key_id: str | None) -> Any:
        import jwt

        now = time.monotonic()
        is_known = key_id in self._keys and now < self._fetched_at + _KEEP_SECONDS
        is_fetching = self._fetching is not None and not self._fetching.done()
        if not is_known and (is_fetching or now > self._asked_at + _COOLDOWN_SECONDS):
            # The fetch goes on if this request ends: others wait for it too.
            await asyncio.shield(self._start_fetching())
        elif now > max(self._fetched_at, self._asked_at) + _REFRESH_SECONDS:
            self._start_fetching()
        if time.monotonic() > self._fetched_at + _KEEP_SECONDS:
            raise Unavailable(
                "the keys of the issuer of tokens cannot be fetched",
                code="issuer_unavailable",
                next_step="check http_jwt_keys_url and whether the issuer runs",
            )
        if key_id not in self._keys:
            raise jwt.InvalidKeyError
        return self._keys[key_id]

    def _start_fetching(self) -> asyncio.Task[None]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_keys())
        return self._fetching

    async def _fetch_keys(self) -> None:
        import jwt

        self._asked_at = time.monotonic()
        try:
            keys = await asyncio.to_thread(self._client.get_signing_keys)
        except (jwt.PyJWTError, OSError, ValueError, HTTPException) as error:
            log.warning("cannot fetch the keys of the issuer of tokens: %s", type(error).__name__)
            return
        self._keys = {key.key_id: key for key in keys}
        self._fetched_at = time.monotonic()


def _scopes(claims: dict[str, Any]) -> frozenset[Scope]:
    """Return the scopes of the claim `scope` (RFC 8693, text) or `scp` (often a list)."""
    granted = claims.get("scope", claims.get("scp", ""))
    names = granted.split() if isinstance(granted, str) else granted
    if not isinstance(names, list):  # some issuers write null for none
        return frozenset()
    return frozenset(scope for scope in Scope if scope in names)
