"""The schema registry: registers our schemas and looks up the schema of an id on the log.

Schemas are registered under the name of their record (`rollbook.UserEvent`), not per topic: two
topics have the same record, and several prefixes on one cluster share one contract.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from runtime.settings import Settings
from schemas.codec import RecordCodec, schema_text
from schemas.errors import CHECK_SERVER, Misconfigured, Poisoned, Unavailable
from schemas.topics import TOPICS

COMPATIBILITY = "FULL_TRANSITIVE"
# Two attempts: a command reports within 15 s that the registry does not answer.
_TIMEOUT_SECONDS = 5


class Registry:
    """Our schemas in the registry. `codec` registers on first use; ids are stable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def ensure(self) -> dict[str, int]:
        """Register every schema as FULL_TRANSITIVE; return schema name → id. Idempotent.

        Raises `Misconfigured` if the registry has an incompatible schema of the same name.
        """
        ids = {}
        for name in dict.fromkeys(topic.schema for topic in TOPICS):
            subject = f"rollbook.{json.loads(schema_text(name))['name']}"
            with self._client(subject) as client:
                ids[name] = _register(client, subject, schema_text(name))
                client.set_compatibility(subject, COMPATIBILITY)
        return ids

    def codec(self, name: str) -> RecordCodec[Any]:
        """Return the codec of the schema file `name`, registering the schema if it is new.

        Raises `Misconfigured` if the id of the schema stands for another one.
        """
        text = schema_text(name)
        subject = f"rollbook.{json.loads(text)['name']}"
        with self._client(subject) as client:
            schema_id = _register(client, subject, text)
            # Otherwise the client answers from its cache. The method has no annotations.
            client.clear_caches()  # type: ignore[no-untyped-call]
            stored = client.get_schema(schema_id).schema_str or "{}"
        if json.loads(stored).get("name") != json.loads(text)["name"]:
            raise Misconfigured(
                f"id {schema_id} of {subject} stands for another schema in the registry",
                code="registry_mismatch",
                next_step="restore its storage: ids on the log must keep their meaning",
            )
        return RecordCodec(name, schema_id, self.schema_by_id)

    def schema_by_id(self, schema_id: int) -> str:
        """Return the text of schema `schema_id`.

        Raises `Poisoned` (`unknown_schema`) if the registry has no such Avro schema, `Unavailable`
        if the registry cannot be reached.
        """
        try:
            with self._client(str(schema_id)) as client:
                schema = client.get_schema(schema_id)
        except _UnknownSchemaError:
            schema = None
        if schema is None or schema.schema_type != "AVRO" or schema.schema_str is None:
            raise Poisoned(
                f"the registry has no Avro schema with id {schema_id}", code="unknown_schema"
            )
        return schema.schema_str

    @contextmanager
    def _client(self, subject: str) -> Iterator[SchemaRegistryClient]:
        """Open a client for a few calls about `subject`; turn their failures into our errors.

        A process needs the registry only a few times: no connection is kept.
        """
        config = {
            "url": self._settings.registry_url,
            "timeout": _TIMEOUT_SECONDS,
            "max.retries": 1,
        }
        try:
            with SchemaRegistryClient(config) as client:
                yield client
        except SchemaRegistryError as error:
            if error.http_status_code == HTTPStatus.NOT_FOUND:
                raise _UnknownSchemaError(
                    f"no schema registry answers at {self._settings.registry_url} (404)",
                    code="bad_setting",
                    next_step="correct the setting registry_url: it ends like /apis/ccompat/v7",
                ) from error
            if error.http_status_code == HTTPStatus.CONFLICT:
                raise Misconfigured(
                    f"the registry has an incompatible schema for {subject}",
                    code="incompatible_schema",
                    next_step="this rollbook is older or newer than the log; use the matching one",
                ) from error
            raise self._unavailable(error) from error
        except OSError as error:
            raise self._unavailable(error) from error
        except Exception as error:
            # The client raises the errors of its HTTP library, which it does not export.
            if type(error).__module__.split(".")[0] in {"httpx", "httpx2", "httpcore"}:
                raise self._unavailable(error) from error
            raise

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"the schema registry at {self._settings.registry_url} failed: {error}",
            code="registry_unavailable",
            next_step=CHECK_SERVER,
        )


class _UnknownSchemaError(Misconfigured):
    """The registry answered 404: it has no schema of this id, or its URL is wrong."""


def _register(client: SchemaRegistryClient, subject: str, text: str) -> int:
    """Register a schema and return its id; retry once after a conflict.

    If two clients register the same schema at the same time, Apicurio refuses one of them. Only a
    second conflict means that the schemas are incompatible.
    """
    schema = Schema(text, "AVRO")
    try:
        return client.register_schema(subject, schema)
    except SchemaRegistryError as error:
        if error.http_status_code != HTTPStatus.CONFLICT:
            raise
    return client.register_schema(subject, schema)
