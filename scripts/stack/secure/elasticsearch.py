"""Elasticsearch with its own security: TLS, and users and roles in files of its configuration.

The distribution that `up` fetches has the security module, but lacks what the index `.security`
needs. So there are no API keys, and no users but those in files, which it reads when they change.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.settings import Settings
from schemas.errors import Unavailable
from scripts.stack.places import ServerUser, give, locked
from scripts.stack.secure.logins import ADMIN

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_ROUNDS: Final = 1000  # few suffice: these passwords are random
_REREAD_MS: Final = 500
_APPLIED_SECONDS: Final = 30.0
_SUPERUSER: Final = "superuser"

# It would write its built-in roles to the index that cannot exist, and log each failure.
JVM_OPTIONS: Final = "-Des.queryable_built_in_roles_enabled=false\n"
# The files of the certificate, relative to the folder of the configuration: the only place from
# where it may read them.
_FILES: Final = {
    "certificate": "elasticsearch/certificate.pem",
    "key": "elasticsearch/key.pem",
    "certificate_authorities": "elasticsearch/ca.pem",
}


def security_options() -> dict[str, Any]:
    """Return the options that replace those of the plain server."""
    return {
        "xpack.security.enabled": "true",
        "xpack.security.autoconfiguration.enabled": "false",
        "xpack.security.enrollment.enabled": "false",
        "xpack.security.authc.reserved_realm.enabled": "false",
        "xpack.security.authc.realms.file.logins.order": 0,
        "resource.reload.interval.high": f"{_REREAD_MS}ms",
        **{
            f"xpack.security.{layer}.ssl.{name}": value
            for layer in ("http", "transport")
            for name, value in {"enabled": "true", **_FILES}.items()
        },
    }


def grant(
    configuration: Path,
    user: ServerUser | None,
    logins: Mapping[str, str],
    roles: Mapping[str, Mapping[str, Any]],
) -> None:
    """Give each login in `roles` its password of `logins` and exactly that role.

    `configuration` is the server's folder. See `wait_until_applied`.
    """
    with _files(configuration, user) as (known_roles, hashes):
        for name, role in roles.items():
            known_roles[name] = role
            hashes[name] = _hash(logins[name])


def write_admin(configuration: Path, user: ServerUser | None, password: str) -> None:
    """Have the administrator among the users."""
    with _files(configuration, user) as (_, hashes):
        hashes[ADMIN] = _hash(password)


def revoke(configuration: Path, user: ServerUser | None, logins: Iterable[str]) -> None:
    """Delete logins and their roles; the server notices within a second."""
    with _files(configuration, user) as (roles, hashes):
        for name in logins:
            roles.pop(name, None)
            hashes.pop(name, None)


@contextmanager
def _files(
    configuration: Path, user: ServerUser | None
) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Yield role → privileges and user → hash, to change; write them back at the end.

    A user has the role of the same name.
    """
    roles_file, users_file = configuration / "roles.yml", configuration / "users"
    with locked(configuration.with_name("elasticsearch-users.lock")):
        # JSON is YAML. A line for each role, as it splits this file where a line is not indented.
        texts = dict(line.split(": ", 1) for line in _text(roles_file).splitlines())
        roles: dict[str, Any] = {name: json.loads(text) for name, text in texts.items()}
        hashes = dict(line.split(":", 1) for line in _text(users_file).splitlines())
        yield roles, hashes
        # Users come last: one that can log in has its role.
        _replace(roles_file, _lines({n: f" {json.dumps(role)}" for n, role in roles.items()}), user)
        has = {_SUPERUSER if name == ADMIN else name: name for name in hashes}
        _replace(configuration / "users_roles", _lines(has), user)
        _replace(users_file, _lines(hashes), user)


def wait_until_applied(
    settings: Settings, logins: Mapping[str, str], roles: Mapping[str, Mapping[str, Any]]
) -> None:
    """Wait until each login has everything in its role. Raises `Unavailable` after 30 s."""
    from projectors.elasticsearch.client import connect

    deadline = time.monotonic() + _APPLIED_SECONDS
    with closing(connect(settings)) as client:
        for name, role in roles.items():
            asking = client.options(basic_auth=(name, logins[name]), ignore_status=(401, 403))
            while not _has(asking, role):
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"Elasticsearch does not apply the role of {name}",
                        code="elasticsearch_unavailable",
                    )
                time.sleep(0.1)


def _has(client: "Elasticsearch", role: Mapping[str, Any]) -> bool:
    found = client.security.has_privileges(cluster=role["cluster"], index=role["indices"])
    return bool(found.meta.status == HTTPStatus.OK and found["has_all_requested"])


def _hash(password: str) -> str:
    salt = secrets.token_bytes(32)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS, 32)
    encoded = "$".join(base64.b64encode(part).decode() for part in (salt, key))
    return f"{{PBKDF2}}{_ROUNDS}${encoded}"


def _lines(values: Mapping[str, str]) -> str:
    return "".join(f"{name}:{value}\n" for name, value in values.items())


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _replace(path: Path, text: str, user: ServerUser | None) -> None:
    draft = path.with_name(path.name + ".new")
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    give(draft, user)
    draft.replace(path)
