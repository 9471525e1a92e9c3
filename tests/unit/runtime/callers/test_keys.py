"""Keys: what the file holds, what is accepted, and how a change of the file is noticed."""

import asyncio
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime.callers import watched_keys
from runtime.callers.authority import Authority
from runtime.callers.caller import ALL_SCOPES, Caller, Scope, check_name
from runtime.callers.errors import TooManyRequests, Unauthenticated
from runtime.callers.key_file import add_key, new_key, read_keys, revoke_key
from runtime.callers.rate import RateLimit
from runtime.settings import Settings
from schemas.errors import Misconfigured, Rejected

COMMANDS = frozenset({Scope.COMMANDS})


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a file of keys that is looked at on every request."""
    monkeypatch.setattr(watched_keys, "_LOOK_SECONDS", 0.0)
    return tmp_path / "keys" / "keys.json"


def created(path: Path, name: str = "shop", **options: Any) -> tuple[str, str]:
    """Return the id and the text of a new key with the scope commands."""
    key, text = new_key(name, COMMANDS, **options)
    add_key(path, key)
    return key.id, text


def authority(path: Path, **settings: Any) -> Authority:
    return Authority(Settings(http_keys_file=str(path), **settings))


def identify(of: Authority, text: str | None, address: str = "192.0.2.1") -> Caller:
    return asyncio.run(of.identify(text if text is None else f"Bearer {text}", address))


def test_a_key_names_its_caller_and_its_scopes(path: Path) -> None:
    _, text = created(path)
    assert identify(authority(path), text) == Caller("shop", COMMANDS)


def test_without_keys_everyone_may_do_everything() -> None:
    of = Authority(Settings())
    assert of.is_open
    assert identify(of, None) == Caller(None, ALL_SCOPES)


def test_what_is_not_exactly_a_key_is_refused(path: Path) -> None:
    key_id, text = created(path)
    of = authority(path)
    wrong = [None, "", " ", "rbk", f"rbk_{key_id}_", f"rbk_{key_id}", text[:-1], text + "A"]
    wrong += [text.upper(), text.replace("rbk", "xyz"), text.replace(key_id, "0" * 12), "a.b.c"]
    for one in wrong:
        with pytest.raises(Unauthenticated):
            identify(of, one, address=repr(one))
    with pytest.raises(Unauthenticated):
        asyncio.run(of.identify(f"Basic {text}", ""))


def test_the_file_holds_no_key_and_only_its_owner_may_read_it(path: Path) -> None:
    _, text = created(path)
    assert text.rpartition("_")[2] not in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_and_a_revoked_key_are_noticed(path: Path) -> None:
    first_id, first = created(path)
    of = authority(path)
    _, second = created(path, "other")
    assert identify(of, second).name == "other"
    revoke_key(path, first_id)
    with pytest.raises(Unauthenticated, match="revoked"):
        identify(of, first)


def test_an_expired_key_is_refused(path: Path) -> None:
    _, text = created(path, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(Unauthenticated, match="expired"):
        identify(authority(path), text)


@pytest.mark.parametrize("content", [b"", b"{", b'{"keys":[{"id":1}]}', b'{"keys":3}', None])
def test_a_file_that_breaks_later_changes_nothing(path: Path, content: bytes | None) -> None:
    """A broken file at the start is refused instead."""
    _, text = created(path)
    of = authority(path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert identify(of, text).name == "shop"
    with pytest.raises(Misconfigured):
        authority(path)


def test_changes_at_the_same_time_lose_no_key(path: Path) -> None:
    children = []
    for number in range(6):
        child = os.fork()
        if child == 0:
            created(path, f"caller-{number}")
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert {key.name for key in read_keys(path).values()} == {f"caller-{n}" for n in range(6)}


def test_a_key_that_does_not_exist_cannot_be_revoked(path: Path) -> None:
    created(path)
    with pytest.raises(Rejected) as caught:
        revoke_key(path, "000000000000")
    assert caught.value.code == "key_not_found"


def test_a_caller_may_make_so_many_requests(path: Path) -> None:
    """The key's own rate counts before the setting; failures are counted by address."""
    _, text = created(path, requests_per_second=1.0)
    _, other = created(path, "other")
    of = authority(path, http_requests_per_second=0.0)
    assert [identify(of, text).name for _ in range(2)] == ["shop"] * 2
    with pytest.raises(TooManyRequests) as caught:
        identify(of, text)
    assert 0 < caught.value.seconds <= 1
    for _ in range(50):
        identify(of, other)
    errors = []
    for _ in range(50):
        with pytest.raises(Rejected) as refused:
            identify(of, "wrong")
        errors.append(type(refused.value))
    assert set(errors) == {Unauthenticated, TooManyRequests}
    assert identify(of, other).name == "other"


def test_the_rate_is_kept_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    limit = RateLimit(burst_seconds=2.0)
    allowed = 0
    for _ in range(1000):
        allowed += limit.seconds_until_allowed("a", 5.0) == 0
        now += 0.01
    assert 50 + 10 - 1 <= allowed <= 50 + 10 + 1
    assert limit.seconds_until_allowed("b", 0.1) == 0
    assert 0 < limit.seconds_until_allowed("b", 0.1) <= 10


@pytest.mark.parametrize("name", ["", "a b", "jane@example.com", "é", "x" * 65])
def test_a_name_that_events_may_not_keep_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        check_name(name)


def test_a_machine_of_an_issuer_may_have_an_at_sign() -> None:
    assert check_name("abc123@clients") == "abc123@clients"
