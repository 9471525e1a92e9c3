"""A login at the broker of the secure stack that may do everything but what a test denies."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from runtime.kafka.clients import admin, client_config
from runtime.settings import Settings
from scripts.stack.access import own_settings
from scripts.stack.native.local import LocalStack
from tests.started.processes import eventually

_ITERATIONS = 4096
_MECHANISM = ScramMechanism.SCRAM_SHA_512
USER, PASSWORD = "app", "right"
_ANYTHING = {
    ResourceType.TOPIC: "*",
    ResourceType.GROUP: "*",
    ResourceType.TRANSACTIONAL_ID: "*",
    ResourceType.BROKER: "kafka-cluster",
}


@dataclass(frozen=True, slots=True)
class SecuredBroker:
    """A running broker; `administrator` may do everything on it, whatever is denied to the user."""

    administrator: Settings
    user: str = USER

    @property
    def secured(self) -> str:
        """The broker's address."""
        return self.administrator.kafka_bootstrap_servers

    def settings(self, settings: Settings) -> Settings:
        """Return settings with which a test may do everything on this broker."""
        return replace(settings, **self._connection())

    def as_user(self, settings: Settings, password: str = PASSWORD) -> Settings:
        """Return settings with which a test logs in as the user, who is subject to denials."""
        return replace(settings, **self._connection() | self._login(password))

    def login(self, password: str = PASSWORD) -> dict[str, str]:
        """Return the variables with which a process logs in as the user."""
        values = self._connection() | self._login(password)
        return {f"ROLLBOOK_{name.upper()}": value for name, value in values.items()}

    def set_password(self, password: str) -> None:
        """Give the user another password; return once the broker accepts it."""
        client = admin(self.administrator)  # kept: its futures never resolve once it is gone
        info = ScramCredentialInfo(_MECHANISM, _ITERATIONS)
        change = UserScramCredentialUpsertion(self.user, info, password.encode())
        for changed in client.alter_user_scram_credentials([change]).values():
            changed.result()
        eventually(lambda: self._accepts(password), what="the new password is accepted")

    def permit_everything(self) -> None:
        """Permit the user every operation. Idempotent."""
        allowed = [
            self._binding(kind, name, AclOperation.ALL, AclPermissionType.ALLOW)
            for kind, name in _ANYTHING.items()
        ]
        client = admin(self.administrator)
        for created in client.create_acls(allowed).values():
            created.result()

    @contextmanager
    def other_user(self, name: str) -> Iterator["SecuredBroker"]:
        """Lend the same broker with a user of this name, whose password no other test knows."""
        other = replace(self, user=name)
        other.permit_everything()
        other.set_password(PASSWORD)
        try:
            yield other
        finally:
            client = admin(self.administrator)
            removal = UserScramCredentialDeletion(name, _MECHANISM)
            for removed in client.alter_user_scram_credentials([removal]).values():
                removed.result()
            anything: Any = None
            of_user = AclBindingFilter(
                ResourceType.ANY,
                anything,
                ResourcePatternType.ANY,
                f"User:{name}",
                anything,
                AclOperation.ANY,
                AclPermissionType.ANY,
            )
            for deleted in client.delete_acls([of_user]).values():
                deleted.result()

    @contextmanager
    def denied(self, kind: ResourceType, name: str, *operations: AclOperation) -> Iterator[None]:
        """Deny the user these operations on one resource inside the `with` block.

        A denial takes precedence over what is permitted.
        """
        client = admin(self.administrator)
        bindings = [self._binding(kind, name, one, AclPermissionType.DENY) for one in operations]
        for created in client.create_acls(bindings).values():
            created.result()
        anything: Any = None
        wanted = AclBindingFilter(
            kind,
            name,
            ResourcePatternType.LITERAL,
            f"User:{self.user}",
            anything,
            AclOperation.ANY,
            AclPermissionType.DENY,
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

    def _connection(self) -> dict[str, Any]:
        names = ("bootstrap_servers", "security_protocol", "ssl_ca_location", "sasl_mechanism")
        logins = ("sasl_username", "sasl_password")
        return {
            f"kafka_{name}": getattr(self.administrator, f"kafka_{name}")
            for name in (*names, *logins)
        }

    def _login(self, password: str) -> dict[str, Any]:
        return {"kafka_sasl_username": self.user, "kafka_sasl_password": password}

    def _binding(
        self,
        kind: ResourceType,
        name: str,
        operation: AclOperation,
        permission: AclPermissionType,
    ) -> AclBinding:
        principal = f"User:{self.user}"
        literal = ResourcePatternType.LITERAL
        return AclBinding(kind, name, literal, principal, "*", operation, permission)

    def _accepts(self, password: str) -> bool:
        config = client_config(self.as_user(self.administrator, password))
        try:
            AdminClient({**config, "log_level": 0}).list_topics(timeout=1)
        except KafkaException:
            return False
        return True


def secured_broker(stack: LocalStack) -> SecuredBroker:
    """Return the broker of a secure stack, with a user who may do everything."""
    ports = {name: server.port or 0 for name, server in stack.servers().items()}
    broker = SecuredBroker(own_settings(stack.directory, ports))
    broker.permit_everything()
    broker.set_password(PASSWORD)
    return broker
