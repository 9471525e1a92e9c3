"""Tokens of an issuer, with keys that are fetched from a real server of a key set."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from runtime.callers import issuer as module
from runtime.callers.caller import Caller, Scope
from runtime.callers.errors import Unauthenticated
from schemas.errors import Unavailable
from tests.samples.key_set import NAME, KeySet


@pytest.fixture
def keys() -> Iterator[KeySet]:
    served = KeySet()
    yield served
    served.close()


def test_a_token_names_its_caller_and_its_scopes(keys: KeySet) -> None:
    async def run() -> None:
        issuer = keys.issuer()
        expected = Caller("shop-7", frozenset({Scope.COMMANDS, Scope.QUERIES}))
        # Many requests at once fetch the keys once.
        found = await asyncio.gather(*(issuer.caller(keys.token()) for _ in range(20)))
        assert found == [expected] * 20
        listed = await issuer.caller(keys.token(scope=None, scp=["erase", "other"]))
        assert listed.scopes == {Scope.ERASE}
        wrong: list[Any] = [5, {}, True]
        for scp in wrong:
            without = await issuer.caller(keys.token(scope=None, scp=scp))
            assert not without.scopes
        assert keys.requests == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": None},
        {"iss": "https://other.example"},
        {"aud": "other"},
        {"sub": None},
        {"sub": "jane@example.com"},
        {"nbf": 4_000_000_000},
    ],
    ids=str,
)
def test_a_token_that_is_not_valid_here_is_refused(keys: KeySet, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated) as caught:
        asyncio.run(keys.issuer().caller(keys.token(**claims)))
    assert "jane" not in str(caught.value)


def test_a_token_that_anyone_could_make_is_refused(keys: KeySet) -> None:
    """Without a signature, or signed with a secret instead of a private key."""
    claims = {"iss": NAME, "aud": "rollbook", "sub": "x", "exp": time.time() + 60}
    header = {"kid": "first"}
    forged = [
        jwt.encode(claims, "", "none", headers=header),
        jwt.encode(claims, "x" * 32, "HS256", headers=header),
        keys.token()[:-4] + "AAAA",
        "a.b.c",
    ]
    for token in forged:
        with pytest.raises(Unauthenticated):
            asyncio.run(keys.issuer().caller(token))


def test_a_new_key_is_fetched_when_a_token_needs_it(
    keys: KeySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        issuer = keys.issuer()
        await issuer.caller(keys.token())
        keys.add("second")
        with pytest.raises(Unauthenticated):  # it was asked a moment ago
            await issuer.caller(keys.token("second"))
        monkeypatch.setattr(module, "_COOLDOWN_SECONDS", 0.0)
        assert (await issuer.caller(keys.token("second"))).name == "shop-7"
        assert keys.requests == 2

    asyncio.run(run())


def test_known_keys_outlast_an_issuer_that_is_down(
    keys: KeySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        issuer = keys.issuer()
        await issuer.caller(keys.token())
        keys.close()
        monkeypatch.setattr(module, "_REFRESH_SECONDS", 0.0)
        assert (await issuer.caller(keys.token())).name == "shop-7"
        monkeypatch.setattr(module, "_KEEP_SECONDS", 0.0)
        with pytest.raises(Unavailable):
            await issuer.caller(keys.token())

    asyncio.run(run())
