"""Kafka with TLS and SCRAM for clients, and its authoriser, which denies what is not granted."""

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.settings import Settings
from schemas.errors import CHECK_SERVER, Unavailable
from scripts.stack.secure.logins import ADMIN, BROKER, MECHANISM, password

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.admin._acl import AclBinding, AclBindingFilter

    from runtime.roles.kafka import Binding

# An open connection must show its login again this often, so that a changed password has an effect.
_LOGIN_AGAIN_MS: Final = 5_000
# The least that Kafka allows: these passwords are random.
_ITERATIONS: Final = 4096
_APPLIED_SECONDS: Final = 30.0


def security_options(stack: Path, certificate: Path) -> dict[str, Any]:
    """Return the options that replace those of the plain broker.

    Clients and the broker itself log in with SCRAM. A controller cannot check such logins before it
    has read them from its own log, so the broker shows it a certificate.
    """
    return {
        "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:SSL",
        "sasl.enabled.mechanisms": MECHANISM,
        "sasl.mechanism.inter.broker.protocol": MECHANISM,
        f"listener.name.client.{MECHANISM.lower()}.sasl.jaas.config": jaas(
            BROKER, password(stack, BROKER)
        ),
        "connections.max.reauth.ms": _LOGIN_AGAIN_MS,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": certificate / "keystore.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificate / "ca.pem",
        "listener.name.controller.ssl.client.auth": "required",
        # The other servers' certificates come from the same authority.
        "listener.name.controller.ssl.principal.mapping.rules": f"RULE:^CN=kafka,.*$/{BROKER}/",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{BROKER};User:{ADMIN}",
    }


def jaas(login: str, secret: str) -> str:
    """Return the login of a Java client of Kafka, as its configuration has it."""
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    return f'{module} required username="{login}" password="{secret}";'


def first_logins(stack: Path) -> str:
    """Return the arguments, one a line, with which a new broker gets its first logins."""
    return "".join(
        f"--add-scram\n{MECHANISM}=[name={name},iterations={_ITERATIONS},"
        f"password={password(stack, name)}]\n"
        for name in (BROKER, ADMIN)
    )


def grant(
    settings: Settings, logins: Mapping[str, str], bindings: Mapping[str, list["Binding"]]
) -> None:
    """Give logins (name → password) exactly what `bindings` has under their names.

    `settings` are the administrator's. Returns once the broker applies it; idempotent. Raises
    `Unavailable` if it does not within 30 s.
    """
    from confluent_kafka.admin._scram import (
        ScramCredentialInfo,
        ScramMechanism,
        UserScramCredentialAlteration,
        UserScramCredentialUpsertion,
    )

    from runtime.kafka.clients import admin

    client = admin(settings)
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
    changes: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(name, info, secret.encode()) for name, secret in logins.items()
    ]
    for changed in client.alter_user_scram_credentials(changes).values():
        changed.result()
    wanted = {_acl(name, one) for name in logins for one in bindings.get(name, ())}
    found = _acls(client, logins)
    if wanted - found:
        for created in client.create_acls(list(wanted - found)).values():
            created.result()
    if found - wanted:
        for deleted in client.delete_acls([_filter(one) for one in found - wanted]).values():
            deleted.result()
    _wait_until_applied(client, logins, wanted)


def revoke(settings: Settings, logins: Iterable[str]) -> None:
    """Delete logins and everything that they were allowed; `settings` are the administrator's."""
    from confluent_kafka.admin._scram import (
        ScramMechanism,
        UserScramCredentialAlteration,
        UserScramCredentialDeletion,
    )

    from runtime.kafka.clients import admin

    client, logins = admin(settings), list(logins)
    for deleted in client.delete_acls([_filter_of(name) for name in logins]).values():
        deleted.result()
    deletions: list[UserScramCredentialAlteration] = [
        UserScramCredentialDeletion(name, ScramMechanism.SCRAM_SHA_512) for name in logins
    ]
    for changed in client.alter_user_scram_credentials(deletions).values():
        changed.exception()  # also if it never existed


def _wait_until_applied(
    client: "AdminClient", logins: Mapping[str, str], wanted: set["AclBinding"]
) -> None:
    deadline = time.monotonic() + _APPLIED_SECONDS
    while _acls(client, logins) != wanted or not _knows(client, logins):
        if time.monotonic() > deadline:
            raise Unavailable(
                "Kafka does not apply its permissions",
                code="kafka_unavailable",
                next_step=CHECK_SERVER,
            )
        time.sleep(0.05)


def _knows(client: "AdminClient", logins: Iterable[str]) -> bool:
    described: Any = client.describe_user_scram_credentials()  # all: a missing one is an error
    return set(logins) <= set(described.result())


def _acls(client: "AdminClient", logins: Iterable[str]) -> set["AclBinding"]:
    asked = [client.describe_acls(_filter_of(name)) for name in logins]
    return {one for found in asked for one in found.result()}


def _acl(login: str, binding: "Binding") -> "AclBinding":
    from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
    from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

    kinds = {
        "topic": ResourceType.TOPIC,
        "group": ResourceType.GROUP,
        "transactional-id": ResourceType.TRANSACTIONAL_ID,
        "cluster": ResourceType.BROKER,
    }
    return AclBinding(
        kinds[binding.resource],
        binding.name,
        ResourcePatternType[binding.pattern.upper()],
        f"User:{login}",
        "*",
        AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", binding.operation).upper()],
        AclPermissionType.ALLOW,
    )


def _filter(acl: "AclBinding") -> "AclBindingFilter":
    from confluent_kafka.admin._acl import AclBindingFilter

    return AclBindingFilter(
        acl.restype,
        acl.name,
        acl.resource_pattern_type,
        acl.principal,
        acl.host,
        acl.operation,
        acl.permission_type,
    )


def _filter_of(login: str) -> "AclBindingFilter":
    from confluent_kafka.admin._acl import AclBindingFilter, AclOperation, AclPermissionType
    from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

    anything: Any = None
    return AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        f"User:{login}",
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
