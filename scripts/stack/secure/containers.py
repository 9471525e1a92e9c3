"""The files with which servers in containers are secure: those of the native stack, other paths.

Compose cannot mount files that only their owner may read, because containers run as other users. So
it gets their content in variables (`variables`), and copies it into the containers as secrets.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runtime.roles.elasticsearch import elasticsearch_roles
from runtime.roles.table import roles
from runtime.settings import Settings
from scripts.serve import TABLE
from scripts.stack.native.server_files import KAFKA_OPTIONS, SERVERS
from scripts.stack.places import SECURE_PORTS
from scripts.stack.record import write_private
from scripts.stack.secure import elasticsearch, kafka, registry
from scripts.stack.secure.certificates import ensure_certificates
from scripts.stack.secure.logins import (
    ADMIN,
    ca_file,
    password,
    registry_login,
    services_certificate,
)

# Where compose copies secrets to.
_SECRETS: Final = Path("/run/secrets")
# The registry's port in its container.
_REGISTRY_PORT: Final = 8080
# The image connects by itself, over the socket in its container, while it sets the database up.
_HBA: Final = "local all all trust\nhostssl all all all scram-sha-256\n"


def folder(stack: Path) -> Path:
    """Return the folder of the files that containers get."""
    return stack / "containers"


def write_files(stack: Path, ports: Mapping[str, int]) -> None:
    """Write the certificate, configuration and logins of each server and service.

    Passwords stay, and certificates that are still valid for a month.
    """
    names = (*SERVERS, *TABLE, *SECURE_PORTS)
    servers = {name: folder(stack) / "configuration" / name for name in names}
    ensure_certificates(stack, [*servers.values(), services_certificate(stack)], None)
    texts = {
        servers["kafka"] / "server.properties": _kafka_properties(stack, ports["kafka"]),
        # 16 bytes in Kafka's encoding; the tool would read a leading hyphen as an option.
        servers["kafka"] / "format-options": f"--cluster-id\nR{secrets.token_urlsafe(16)[1:]}\n"
        + kafka.first_logins(stack),
        servers["registry"] / "registry.properties": registry.properties(
            stack, _REGISTRY_PORT, _SECRETS
        ),
        servers["postgres"] / "pg_hba.conf": _HBA,
    }
    for path, text in texts.items():
        write_private(path, text)
    logins = {name: password(stack, name) for name in roles(Settings())}
    elasticsearch.grant(servers["elasticsearch"], None, logins, elasticsearch_roles(Settings()))
    elasticsearch.write_admin(servers["elasticsearch"], None, password(stack, ADMIN))


def variables(stack: Path) -> dict[str, str]:
    """Return what deploy/compose/secure.yml reads from the environment."""
    found = {"ROLLBOOK_POSTGRES_PASSWORD": password(stack, ADMIN)}
    for path in sorted((folder(stack) / "configuration").glob("*/*")):
        found[_variable(path.parent.name, path.name)] = path.read_text(encoding="utf-8")
    found[_variable("ca.pem")] = ca_file(stack).read_text(encoding="utf-8")
    for role in roles(Settings()):
        found[_variable(role, "password")] = password(stack, role)
    found[_variable("projector", "password")] = password(stack, registry_login("projector-"))
    return found


def _variable(*parts: str) -> str:
    name = "_".join(parts).upper()
    return "ROLLBOOK_SECURE_" + name.translate(str.maketrans("-.", "__"))


def _kafka_properties(stack: Path, port: int) -> str:
    """Return the configuration of a broker with a listener for the host and one for containers."""
    secure = kafka.security_options(stack, _SECRETS)
    client = next(name for name in secure if name.startswith("listener.name.client."))
    options = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": "1@localhost:9093",
        "listeners": "CLIENT://:19092,INTERNAL://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"CLIENT://127.0.0.1:{port},INTERNAL://kafka:9092",
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": "/var/lib/kafka/data",
        **KAFKA_OPTIONS,
        **secure,
        "listener.security.protocol.map": "CLIENT:SASL_SSL,INTERNAL:SASL_SSL,CONTROLLER:SSL",
        client.replace(".client.", ".internal."): secure[client],
    }
    return "".join(f"{name}={value}\n" for name, value in options.items())
