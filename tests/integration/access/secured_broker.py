"""A broker with two listeners: one that demands a login and applies ACLs, and one for the tests.

Whatever no ACL mentions is permitted, so only what a test denies is denied.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
)
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from runtime.kafka import admin
from runtime.settings import Settings
from scripts.stack.fetch import fetch
from scripts.stack.jdk import choose_jdk
from scripts.stack.places import (
    HOST,
    choose_ports,
    data_directory,
    free_port,
    give,
    locked,
    named_directory,
    server_user,
)
from scripts.stack.record import StackRecord, password_file, read_record, write_record
from scripts.stack.server_files import Site, console_log, kafka_properties
from scripts.stack.servers import format_kafka, kafka_program
from scripts.stack.supervise import Supervisor
from tests.processes import eventually

_SECURED = "kafka-secured"
_MECHANISM = "SCRAM-SHA-256"
_ITERATIONS = 4096
# An open connection must show its login again this often: so a changed password has an effect.
_LOGIN_AGAIN_MS = 5_000
USER, PASSWORD = "app", "right"


@dataclass(frozen=True, slots=True)
class SecuredBroker:
    """A running broker: `trusted` is the listener without a login, `secured` the other."""

    trusted: str
    secured: str

    def settings(self, settings: Settings) -> Settings:
        """Return settings with which a test may do everything on this broker."""
        return replace(settings, kafka_bootstrap_servers=self.trusted)

    def login(self, password: str = PASSWORD) -> dict[str, str]:
        """Return the variables with which a process logs in, and is subject to ACLs."""
        return {
            "ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS": self.secured,
            "ROLLBOOK_KAFKA_SECURITY_PROTOCOL": "sasl_plaintext",
            "ROLLBOOK_KAFKA_SASL_MECHANISM": _MECHANISM,
            "ROLLBOOK_KAFKA_SASL_USERNAME": USER,
            "ROLLBOOK_KAFKA_SASL_PASSWORD": password,
        }

    def set_password(self, password: str) -> None:
        """Give the user another password; return once the broker accepts it."""
        client = self._admin()  # kept in a variable: its futures never resolve once it is gone
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, _ITERATIONS)
        change = UserScramCredentialUpsertion(USER, info, password.encode())
        for changed in client.alter_user_scram_credentials([change]).values():
            changed.result()
        eventually(lambda: self._accepts(password), what="the new password is accepted")

    def _accepts(self, password: str) -> bool:
        login = self.login(password)
        client = AdminClient(
            {
                "bootstrap.servers": self.secured,
                "security.protocol": "sasl_plaintext",
                "sasl.mechanism": _MECHANISM,
                "sasl.username": USER,
                "sasl.password": login["ROLLBOOK_KAFKA_SASL_PASSWORD"],
                "log_level": 0,
            }
        )
        try:
            client.list_topics(timeout=1)
        except KafkaException:
            return False
        return True

    @contextmanager
    def denied(self, kind: ResourceType, name: str, *operations: AclOperation) -> Iterator[None]:
        """Deny the user these operations on one resource inside the `with` block.

        Everything else on the resource stays permitted: an ACL that mentions a resource ends the
        general permission for it.
        """
        client = self._admin()
        bindings = [_binding(kind, name, AclOperation.ALL, AclPermissionType.ALLOW)]
        bindings += [_binding(kind, name, one, AclPermissionType.DENY) for one in operations]
        for created in client.create_acls(bindings).values():
            created.result()
        anything: Any = None
        wanted = AclBindingFilter(
            kind,
            name,
            ResourcePatternType.LITERAL,
            anything,
            anything,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )

        def count() -> int:
            return len(client.describe_acls(wanted).result())

        eventually(lambda: count() == len(bindings), what="the ACLs are applied")
        try:
            yield
        finally:
            for deleted in client.delete_acls([wanted]).values():
                deleted.result()
            eventually(lambda: not count(), what="the ACLs are removed")

    def _admin(self) -> AdminClient:
        return admin(replace(Settings(), kafka_bootstrap_servers=self.trusted))


def _binding(
    kind: ResourceType, name: str, operation: AclOperation, permission: AclPermissionType
) -> AclBinding:
    return AclBinding(
        kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, permission
    )


def start_secured_broker(name: str) -> SecuredBroker:
    """Start a stack with nothing but this broker, or return it if another worker started it."""
    directory = named_directory(name)
    supervisor = Supervisor(directory)
    os.umask(0o022)  # the servers' user must be able to read what root creates
    with locked(directory / "lock"):
        record = read_record(directory)
        if record is None or not supervisor.runs():
            site = _site(directory)
            record = StackRecord("native", dict(site.ports), str(site.data), str(site.java.home))
            write_record(directory, record)
            supervisor.logs.mkdir(exist_ok=True)
            _prepare(site)
            supervisor.start([kafka_program(site)], site.user)
        trusted, secured = record.ports["kafka"], record.ports[_SECURED]
        broker = SecuredBroker(f"{HOST}:{trusted}", f"{HOST}:{secured}")
        eventually(lambda: _answers(broker), 120, "the secured broker")
        broker.set_password(PASSWORD)
    return broker


def _answers(broker: SecuredBroker) -> bool:
    try:
        return broker._admin().list_topics(timeout=2).controller_id >= 0
    except KafkaException:
        return False


def _site(directory: Path) -> Site:
    user, ports = server_user(), choose_ports({}, free=True)
    java = choose_jdk(user, print)
    data = data_directory(directory, user)
    return Site(
        data=data,
        configuration=data / "configuration",
        logs=Supervisor(directory).logs,
        password_file=password_file(directory),
        java=java,
        programs=fetch(user, java.home, print),
        ports=ports | {_SECURED: free_port(set(ports.values()))},
        user=user,
    )


def _prepare(site: Site) -> None:
    for folder in (site.data, site.data / "kafka", site.configuration):
        folder.mkdir(parents=True, exist_ok=True)
        give(folder, site.user)
    for name, text in (
        ("kafka.properties", kafka_properties(site) + _security(site)),
        ("kafka-log4j2.properties", console_log("info")),
    ):
        path = site.configuration / name
        path.write_text(text, encoding="utf-8")
        give(path, site.user)
    format_kafka(site)


def _security(site: Site) -> str:
    """Return the lines that follow the stack's own: of two with one name, the last one counts."""
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    plain = ", ".join(f"{n}://{HOST}:{site.ports[p]}" for n, p in _PLAIN.items())
    options = {
        "listeners": f"{plain}, SECURED://{HOST}:{site.ports[_SECURED]}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
        "SECURED:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": _MECHANISM,
        f"listener.name.secured.{_MECHANISM.lower()}.sasl.jaas.config": login,
        "connections.max.reauth.ms": _LOGIN_AGAIN_MS,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "true",
    }
    return "".join(f"{name}={value}\n" for name, value in options.items())


_PLAIN = {"CLIENT": "kafka", "CONTROLLER": "kafka-controller"}
