"""The file of keys: what is stored of each key, and how the file is changed.

A key is `rbk_ID_SECRET`, where the secret has 256 random bits. The file holds its SHA-256 hash. A
slow, salted hash, as for passwords, would add nothing: it makes guessing a *weak* secret costly,
and 2^256 guesses are out of reach at any speed. It would only cost time on every request.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from runtime.callers.caller import Scope, check_name
from schemas.errors import Misconfigured, Rejected

_PREFIX: Final = "rbk"  # lets scanners of repositories find keys that were committed by mistake
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_NEVER: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Key:
    """What the file holds of a key. Times are UTC in ISO 8601; '' is none.

    Several keys may have one name: that is how a caller changes from one key to the next.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    sha256: str
    created_at: str
    expires_at: str = ""
    revoked_at: str = ""
    requests_per_second: float | None = None  # None: as the setting says; 0: any number

    def state(self, now: datetime) -> str:
        """Return active, expired or revoked."""
        if self.revoked_at:
            return "revoked"
        is_over = self.expires_at and datetime.fromisoformat(self.expires_at) <= now
        return "expired" if is_over else "active"


def matching(keys: dict[str, Key], text: str) -> Key | None:
    """Return the key that `text` is, or None; in a time that does not depend on the secret."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    key = keys.get(key_id) if prefix == _PREFIX else None
    is_same = hmac.compare_digest(_hash(secret), key.sha256 if key else _NEVER)
    return key if is_same else None


def new_key(
    name: str,
    scopes: frozenset[Scope],
    *,
    expires_at: datetime | None = None,
    requests_per_second: float | None = None,
) -> tuple[Key, str]:
    """Return a key and its text, which is stored nowhere. Raises ValueError for a bad name."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    key = Key(
        id=secrets.token_hex(_ID_BYTES),
        name=check_name(name),
        scopes=tuple(sorted(scopes)),
        sha256=_hash(secret),
        created_at=_text(datetime.now(UTC)),
        expires_at=_text(expires_at) if expires_at else "",
        requests_per_second=requests_per_second,
    )
    return key, f"{_PREFIX}_{key.id}_{secret}"


def read_keys(path: Path) -> dict[str, Key]:
    """Return the keys by their ids. Raises `Misconfigured` if the file cannot be read."""
    try:
        return parse_keys(path.read_bytes())
    except OSError as error:
        why = os.strerror(error.errno or 0)
    except (ValueError, TypeError, KeyError, AttributeError):
        why = "it is not what `rollbook keys` writes"
    raise Misconfigured(
        f"cannot read the file of keys {path}: {why}",
        code="bad_keys_file",
        next_step="`rollbook keys create` writes the file that http_keys_file names",
    )


def parse_keys(content: bytes) -> dict[str, Key]:
    """Return the keys by their ids. Raises ValueError, TypeError or KeyError for other content."""
    keys = [
        Key(**row | {"scopes": tuple(Scope(scope) for scope in row["scopes"])})
        for row in orjson.loads(content)["keys"]
    ]
    for key in keys:
        key.state(datetime.now(UTC))
    return {key.id: key for key in keys}


def as_json(keys: dict[str, Key]) -> bytes:
    """Return the content of the file."""
    rows: list[dict[str, Any]] = [asdict(key) for key in keys.values()]
    return orjson.dumps({"keys": rows}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def add_key(path: Path, key: Key) -> None:
    """Add `key` to the file, which is created if it is missing. Raises `Misconfigured`."""
    with _changing(path) as keys:
        keys[key.id] = key


def revoke_key(path: Path, key_id: str) -> Key:
    """Mark the key as revoked and return it; running services notice within a second or two.

    Raises `Rejected` (`key_not_found`), and `Misconfigured`.
    """
    with _changing(path) as keys:
        if key_id not in keys:
            raise Rejected(
                "there is no such key",
                code="key_not_found",
                next_step="`rollbook keys list` shows the ids",
            )
        key = keys[key_id]
        if not key.revoked_at:
            keys[key_id] = replace(key, revoked_at=_text(datetime.now(UTC)))
        return keys[key_id]


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, Key]]:
    """Yield the keys and write them back at once: a reader sees the old file or the new one."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read_keys(path) if path.exists() else {}
        yield keys
        draft = path.with_name(f"{path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            file.write(as_json(keys))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
