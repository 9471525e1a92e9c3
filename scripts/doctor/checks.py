"""Every check of `rollbook doctor`, in groups by the server that they ask.

docs/reference/checks.md is generated from this list.
"""

from typing import Final

from scripts.doctor import (
    brokers,
    certificates,
    handlers,
    indexes,
    permissions,
    read_models,
    schemas,
    tables,
)
from scripts.doctor.finding import Check, Group

GROUPS: Final[tuple[Group, ...]] = (
    Group(
        "Kafka",
        brokers.BrokerFacts,
        (
            Check(
                "topics", "topics that are missing or differ from their definition", brokers.topics
            ),
            Check("copies", "partitions without a leader or with too few copies", brokers.replicas),
            Check(
                "transactions",
                "transactions that stay open, so that readers wait",
                brokers.transactions,
            ),
            Check("kafka-release", "releases that lose transaction markers", brokers.release),
            Check("kafka-clock", "a clock that differs from the one here", brokers.clock),
            Check("kafka-disk", "disks of brokers that are nearly full", brokers.disk),
        ),
    ),
    Group(
        "handlers",
        handlers.HandlerFacts,
        (
            Check("handlers", "partitions that no handler decides", handlers.group),
            Check(
                "offsets",
                "commands that were deleted before they were decided, or soon will be",
                handlers.offsets,
            ),
            Check(
                "reading-time",
                "a log that takes longer to read than its tombstones are kept; it is measured",
                handlers.reading_time,
            ),
        ),
    ),
    Group(
        "read models",
        read_models.ReadModelFacts,
        (
            Check(
                "versions", "versions that are missing, paused or abandoned", read_models.versions
            ),
            Check(
                "projectors", "versions that no projector keeps up to date", read_models.projectors
            ),
            Check("groups", "consumer groups of dropped versions", read_models.groups),
            Check("dead-letters", "records that could not be read or applied", read_models.letters),
        ),
    ),
    Group(
        "registry",
        schemas.RegistryFacts,
        (
            Check("schemas", "schemas that are not registered", schemas.registered),
            Check(
                "schema-ids", "ids on the log that the registry does not know", schemas.ids_on_log
            ),
        ),
    ),
    Group(
        "PostgreSQL",
        tables.TableFacts,
        (
            Check("postgres-release", "a release or tables that are too old", tables.release),
            Check("postgres-clock", "a clock that differs from the one here", tables.clock),
            Check("postgres-indexes", "indexes that are invalid or missing", tables.indexes),
            Check("postgres-tables", "tables without a version, or the reverse", tables.leftovers),
            Check("postgres-vacuum", "what keeps erased rows in the files", tables.held_back),
        ),
    ),
    Group(
        "Elasticsearch",
        indexes.IndexFacts,
        (
            Check("elasticsearch-release", "a release that is too old", indexes.release),
            Check("elasticsearch-health", "shards that are not allocated", indexes.health),
            Check("elasticsearch-disk", "disks of nodes near a watermark", indexes.disk),
            Check("elasticsearch-templates", "templates that match our indexes", indexes.templates),
            Check("elasticsearch-indexes", "blocks, pipelines and missing fields", indexes.ours),
        ),
    ),
    Group(
        "permissions",
        lambda examination: examination,
        (Check("permissions", "what the login may not do", permissions.roles),),
    ),
    Group(
        "TLS",
        lambda examination: examination,
        (
            Check(
                "certificates",
                "certificates that have expired or soon will",
                certificates.expiry,
            ),
            Check("encryption", "connections in plain text", certificates.encryption),
        ),
    ),
)
