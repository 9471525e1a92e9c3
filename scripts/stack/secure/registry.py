"""The schema registry with TLS, logins, and a rule for each method and path.

Apicurio is a Quarkus application, which has all of that. It reads its configuration at its start.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from runtime.roles.registry import registry_requests
from runtime.roles.table import REGISTRY, roles
from runtime.settings import Settings
from schemas.topics import SCHEMAS
from scripts.stack.secure.kafka import jaas
from scripts.stack.secure.logins import ADMIN, MECHANISM, password, registry_login

# Part of what is hashed with a password; it is fixed in Apicurio's build.
_REALM: Final = "Quarkus"
_API: Final = "/apis/ccompat/v7"


def properties(stack: Path, port: int, certificate: Path) -> str:
    """Return the registry's configuration beside the options of the plain one.

    Requests that no rule permits are refused, also those of its other APIs.
    """
    options = {
        "quarkus.http.insecure-requests": "disabled",
        "quarkus.http.ssl-port": port,
        "quarkus.http.ssl.certificate.files": certificate / "certificate.pem",
        "quarkus.http.ssl.certificate.key-files": certificate / "key.pem",
        **_kafka(stack, certificate),
        **_logins(stack),
        **_rules(),
    }
    return "".join(f"{name}={value}\n" for name, value in options.items())


def _kafka(stack: Path, certificate: Path) -> dict[str, Any]:
    options = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": MECHANISM,
        "sasl.jaas.config": jaas(REGISTRY, password(stack, REGISTRY)),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificate / "ca.pem",
    }
    return {f"apicurio.kafka.common.{name}": value for name, value in options.items()}


def _logins(stack: Path) -> dict[str, str]:
    options = {
        # Quarkus warns that it cannot change any more; Apicurio itself reads it.
        "quarkus.http.auth.basic": "true",
        "quarkus.security.users.embedded.plain-text": "false",
        "quarkus.security.users.embedded.algorithm": "digest-sha-256",
    }
    for name, role in _role_of_login().items():
        hashed = hashlib.sha256(f"{name}:{_REALM}:{password(stack, name)}".encode()).hexdigest()
        options[f'quarkus.security.users.embedded.users."{name}"'] = hashed
        options[f'quarkus.security.users.embedded.roles."{name}"'] = role
    return options


def _role_of_login() -> Mapping[str, str]:
    """Return login → what the table has for its role; the administrator reads only."""
    found = {
        registry_login(name): role.schemas
        for name, role in roles(Settings()).items()
        if role.schemas
    }
    return {name: kind.replace(" ", "-") for name, kind in found.items()} | {ADMIN: "look-up"}


def _rules() -> dict[str, str]:
    permitted: dict[tuple[str, str], set[str]] = {}
    for name, role in roles(Settings()).items():
        for request in registry_requests(Settings(), name):
            for path in _paths(request.path):
                kind = role.schemas.replace(" ", "-")
                permitted.setdefault((request.method, path), set()).add(kind)
    options = {
        "quarkus.http.auth.permission.others.paths": "/*",
        "quarkus.http.auth.permission.others.policy": "deny",
    }
    for number, ((method, path), kinds) in enumerate(sorted(permitted.items())):
        policy, permission = f"may{number}", f"quarkus.http.auth.permission.rule{number}"
        options |= {
            f"quarkus.http.auth.policy.{policy}.roles-allowed": ",".join(sorted(kinds)),
            f"{permission}.paths": _API + path,
            f"{permission}.methods": method,
            f"{permission}.policy": policy,
        }
    return options


def _paths(pattern: str) -> list[str]:
    """Return the paths that a regular expression of the table matches, `*` for a number."""
    from schemas.coding.codec import (
        schema_text,  # commands that show a stack do without its imports
    )

    subjects = [f"rollbook.{json.loads(schema_text(name))['name']}" for name in SCHEMAS]
    plain = pattern.replace("[0-9]+", "*")
    return sorted({re.sub(r"rollbook\\\..*?\+", one, plain) for one in subjects})
