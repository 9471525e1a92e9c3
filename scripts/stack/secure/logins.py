"""The logins of a secure stack: their passwords, and a file of settings for each.

A role has the same password at every server: whoever runs a stack of their own may read all of
them anyway. Nobody is told the broker's login, nor is it a role.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from runtime.roles.table import OPERATOR, PROJECTOR, login
from runtime.settings import Settings
from scripts.stack.places import HOST
from scripts.stack.record import (
    elasticsearch_url,
    keys_file,
    postgres_url,
    registry_url,
    settings_of,
    write_private,
    write_toml,
)

MECHANISM: Final = "SCRAM-SHA-512"
# May do everything on every server, as `up` needs to create the others. No process logs in with it.
ADMIN: Final = "admin"
# The broker's own, which is a super user as well.
BROKER: Final = "kafka"


def ca_file(stack: Path) -> Path:
    """Return the path of the certificate authority that clients of this stack trust."""
    return stack / "ca.pem"


def services_certificate(stack: Path) -> Path:
    """Return the folder of the certificate of our services over HTTP."""
    return stack / "certificates" / "services"


def role_file(stack: Path, role: str, prefix: str = "") -> Path:
    """Return the path of the settings with which a process acts as `role`."""
    return stack / "roles" / prefix / f"{role}.toml"


def password_file(stack: Path, role: str, prefix: str = "") -> Path:
    """Return the path of the file that holds the password of `role`."""
    if role in {ADMIN, BROKER}:
        return stack / f"{role}.password"
    return role_file(stack, role, prefix).with_suffix(".password")


def password(stack: Path, role: str, prefix: str = "") -> str:
    """Return the password of `role`, made up at the first call."""
    path = password_file(stack, role, prefix)
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24) + "\n")
    return path.read_text(encoding="utf-8").strip()


def registry_login(role: str) -> str:
    """Return the login of `role` at the schema registry: all projectors share one.

    The registry reads its logins when it starts, but prefixes and custom read models come later.
    """
    return PROJECTOR.rstrip("-") if role.startswith(PROJECTOR) else role


def write_role(stack: Path, ports: Mapping[str, int], role: str, prefix: str = "") -> Path:
    """Write the settings of `role`; return the path of the file."""
    path = role_file(stack, role, prefix)
    write_toml(path, role_settings(stack, ports, role, prefix))
    if role == OPERATOR and not prefix:
        # Every rollbook command reads it by default.
        write_toml(stack / "rollbook.toml", role_settings(stack, ports, role))
    return path


def rewrite_roles(stack: Path, ports: Mapping[str, int]) -> None:
    """Write the settings of the roles of all prefixes again: servers may have other ports now."""
    for path in (stack / "roles").glob("*/*.toml"):
        write_role(stack, ports, path.stem, path.parent.name)


def write_console(stack: Path) -> Path:
    """Write the settings of the console, which has no login; return the path of the file."""
    path = role_file(stack, "console")
    write_toml(path, _service_settings(stack) | {"http_ca_location": str(ca_file(stack))})
    return path


def write_admin(stack: Path, ports: Mapping[str, int]) -> None:
    """Write `admin.toml`, the settings of the stack's administrator."""
    write_toml(stack / "admin.toml", role_settings(stack, ports, ADMIN))


def admin_settings(stack: Path, ports: Mapping[str, int]) -> Settings:
    """Return the settings of the stack's administrator."""
    password(stack, ADMIN)
    return settings_of(role_settings(stack, ports, ADMIN))


def role_settings(
    stack: Path, ports: Mapping[str, int], role: str, prefix: str = ""
) -> dict[str, str]:
    """Return the settings that reach every server as `role`; secrets only as names of files."""
    name = login(Settings(prefix=prefix), role)
    authority, secret = str(ca_file(stack)), str(password_file(stack, role, prefix))
    verified = f"?sslmode=verify-full&sslrootcert={quote(authority)}"
    at_registry = registry_login(role)
    values = {
        "kafka_bootstrap_servers": f"{HOST}:{ports['kafka']}",
        "kafka_security_protocol": "sasl_ssl",
        "kafka_ssl_ca_location": authority,
        "kafka_sasl_mechanism": MECHANISM,
        "kafka_sasl_username": name,
        "kafka_sasl_password_file": secret,
        "registry_url": registry_url(ports, "https"),
        "registry_ca_location": authority,
        "registry_username": at_registry,
        "registry_password_file": str(password_file(stack, at_registry)),
        "postgres_url": postgres_url(ports, name) + verified,
        "postgres_password_file": secret,
        "elasticsearch_url": elasticsearch_url(ports, "https"),
        "elasticsearch_ca_location": authority,
        "elasticsearch_username": name,
        "elasticsearch_password_file": secret,
        **_service_settings(stack),
    }
    return values | ({"prefix": prefix} if prefix else {})


def _service_settings(stack: Path) -> dict[str, str]:
    certificate = services_certificate(stack)
    return {
        "http_keys_file": str(keys_file(stack)),
        "http_tls_certificate": str(certificate / "certificate.pem"),
        "http_tls_key": str(certificate / "key.pem"),
        "state_directory": str(stack),
    }
