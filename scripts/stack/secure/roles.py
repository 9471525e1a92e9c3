"""Creates the logins of all roles for one registry, on the servers of a secure stack."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.roles.elasticsearch import elasticsearch_roles
from runtime.roles.kafka import kafka_bindings
from runtime.roles.postgres import postgres_statements
from runtime.roles.table import REGISTRY, login, roles
from runtime.settings import Settings
from schemas.errors import Misconfigured
from scripts.stack.native.server_files import SERVERS
from scripts.stack.places import server_user
from scripts.stack.record import read_record
from scripts.stack.secure import elasticsearch, kafka, postgres
from scripts.stack.secure.logins import admin_settings, password, role_file, write_role


@dataclass(frozen=True, slots=True)
class _Site:
    """A running secure stack: its administrator's settings, and the files of its logins."""

    admin: Settings
    ports: Mapping[str, int]
    elasticsearch: Path


def grant_roles(
    stack: Path, settings: Settings, *, servers: Collection[str] = SERVERS
) -> dict[str, Path]:
    """Create the logins for the prefix of `settings`, each with exactly what the table gives it.

    Returns role → the file of settings with which a process acts as it, for the fixed roles and
    for the projector of each read model. Passwords of an earlier call stay. Returns once all
    `servers`, which must run, apply it. Raises `Misconfigured` unless the stack in folder `stack`
    is a secure one.
    """
    site, names = _site(stack), _roles(settings)
    logins = {login(settings, role): password(stack, role, settings.prefix) for role in names}
    in_elasticsearch = {
        login(settings, role): body for role, body in elasticsearch_roles(settings).items()
    }
    if "elasticsearch" in servers:
        elasticsearch.grant(site.elasticsearch, server_user(), logins, in_elasticsearch)
    if "kafka" in servers:
        bindings = {login(settings, role): kafka_bindings(settings, role) for role in names}
        kafka.grant(site.admin, logins, bindings)
    if "postgres" in servers:
        postgres.grant(site.admin, logins, postgres_statements(settings))
    if "elasticsearch" in servers:
        elasticsearch.wait_until_applied(site.admin, logins, in_elasticsearch)
    return {role: write_role(stack, site.ports, role, settings.prefix) for role in names}


def revoke_roles(stack: Path, settings: Settings, *, servers: Collection[str] = SERVERS) -> None:
    """Delete the logins for the prefix of `settings` and what they were granted.

    What they own in PostgreSQL becomes the administrator's. Their logins at the schema registry
    remain: those have no prefix.
    """
    site, names = _site(stack), _roles(settings)
    logins = [login(settings, role) for role in names]
    if "kafka" in servers:
        kafka.revoke(site.admin, logins)
    if "postgres" in servers:
        postgres.revoke(site.admin, logins)
    if "elasticsearch" in servers:
        elasticsearch.revoke(site.elasticsearch, server_user(), logins)
    for role in names:
        path = role_file(stack, role, settings.prefix)
        for file in (path, path.with_suffix(".password")):
            file.unlink(missing_ok=True)


def grant_registry(stack: Path) -> None:
    """Let the schema registry itself use Kafka, which it needs for its start."""
    site, secret = _site(stack), password(stack, REGISTRY)
    kafka.grant(site.admin, {REGISTRY: secret}, {REGISTRY: kafka_bindings(Settings(), REGISTRY)})


def _roles(settings: Settings) -> list[str]:
    return [role for role in roles(settings) if role != REGISTRY]


def _site(stack: Path) -> _Site:
    record = read_record(stack)
    if record is None or not record.secure:
        raise Misconfigured(
            f"the stack {stack.name} is not a secure one",
            code="other_mode",
            next_step="start one: `rollbook stack up --secure --name NAME`",
        )
    configuration = Path(record.data) / "configuration" / "elasticsearch"
    return _Site(admin_settings(stack, record.ports), record.ports, configuration)
