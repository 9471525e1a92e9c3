"""Decides who a request comes from: a key, a token of an issuer, or anyone where neither is set."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from runtime.callers.caller import ALL_SCOPES, Caller
from runtime.callers.errors import TooManyRequests, Unauthenticated
from runtime.callers.issuer import Issuer
from runtime.callers.rate import RateLimit
from runtime.callers.watched_keys import WatchedKeys
from runtime.settings import Settings

_ANYONE: Final = Caller(None, ALL_SCOPES)
# Failed attempts of one address: a key cannot be guessed, but a mistake must not flood the log.
_FAILURES_PER_SECOND: Final = 1.0
_FAILURES_BURST_SECONDS: Final = 20.0
_HOW: Final = "send a valid one in the header `Authorization: Bearer …`"


class Authority:
    """Names the caller of each request, by the settings.

    Raises `Misconfigured` if the file of keys cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        path = settings.http_keys_file
        self._keys = WatchedKeys(Path(path)) if path else None
        self._issuer = Issuer(settings) if settings.http_jwt_issuer else None
        self._per_second = settings.http_requests_per_second
        self._requests = RateLimit()
        self._failures = RateLimit(_FAILURES_BURST_SECONDS)

    @property
    def is_open(self) -> bool:
        """Whether anyone who can connect may do everything."""
        return self._keys is None and self._issuer is None

    async def identify(self, authorization: str | None, address: str) -> Caller:
        """Return the caller whose `Authorization` header this is; `address` is the client's.

        Raises `Unauthenticated` and `TooManyRequests`, and `Unavailable` if the issuer's keys
        cannot be fetched.
        """
        if self.is_open:
            return _ANYONE
        try:
            caller, per_second = await self._known(authorization)
        except Unauthenticated:
            self._count(self._failures, address, _FAILURES_PER_SECOND)
            raise
        if per_second:
            self._count(self._requests, caller.name or "", per_second)
        return caller

    async def _known(self, authorization: str | None) -> tuple[Caller, float]:
        kind, _, text = (authorization or "").partition(" ")
        text = text.strip()
        if kind.lower() != "bearer" or not text:
            raise Unauthenticated("the request has no key", next_step=_HOW)
        key = self._keys.find(text) if self._keys else None
        if key is not None:
            state = key.state(datetime.now(UTC))
            if state != "active":
                raise Unauthenticated(f"the key is {state}", next_step=_HOW)
            per_second = key.requests_per_second
            return (
                Caller(key.name, frozenset(key.scopes)),
                self._per_second if per_second is None else per_second,
            )
        if self._issuer and text.count(".") == 2:  # noqa: PLR2004 - the parts of a signed token
            return await self._issuer.caller(text), self._per_second
        raise Unauthenticated("the key is not known", next_step=_HOW)

    def _count(self, limit: RateLimit, name: str, per_second: float) -> None:
        seconds = limit.seconds_until_allowed(name, per_second)
        if seconds > 0:
            raise TooManyRequests(seconds)
