"""Every metric: its name, type, labels and meaning, and which processes serve it.

This table is what processes serve and what docs/reference/metrics.md is generated from. No label
has an id, an address, a name or any other text without a bound.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from schemas.records import (
    CHANGE_EMAIL,
    CHECK_UPGRADE,
    CREATE_USER,
    DELETE_USER,
    ERASE_USER,
    FINALISE_UPGRADE,
    UPDATE_USER,
)

PREFIX: Final = "rollbook_"

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Across: TypeAlias = Literal["sum", "max", "min"]

# The kinds of processes.
HANDLER: Final = "handler"
PROJECTOR: Final = "projector"
SERVICE: Final = "service"

PARTITION_STATES: Final = ("restoring", "ready", "held_up")
PROJECTOR_STATES: Final = (
    *("starting", "standby", "catching_up", "caught_up", "waiting", "paused", "failed"),
)
OTHER_KIND: Final = "other"
# The labels of counters whose values are known: such a counter begins at 0 instead of being absent.
LABEL_VALUES: Final = {
    "store": ("kafka", "registry", "postgres", "elasticsearch"),
    "kind": (
        *(CREATE_USER, UPDATE_USER, CHANGE_EMAIL, DELETE_USER, ERASE_USER),
        *(FINALISE_UPGRADE, CHECK_UPGRADE, OTHER_KIND),
    ),
    "outcome": ("accepted", "rejected"),
    "result": ("committed", "aborted", "unknown"),
}

_TIMES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG_TIMES: Final = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_SIZES: Final = (1.0, 10.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `name` is without the prefix, `served_by` are kinds of processes.

    `across` says what one endpoint shows of several processes.
    """

    name: str
    kind: Kind
    explanation: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    across: Across = "sum"
    served_by: tuple[str, ...] = (HANDLER, PROJECTOR, SERVICE)

    @property
    def full_name(self) -> str:
        """The name as Prometheus shows it."""
        return PREFIX + self.name


def _counter(name: str, explanation: str, *labels: str) -> Metric:
    return Metric(name, "counter", explanation, labels)


def _gauge(name: str, explanation: str, *labels: str, across: Across = "sum") -> Metric:
    return Metric(name, "gauge", explanation, labels, across=across)


def _histogram(
    name: str, explanation: str, *labels: str, buckets: tuple[float, ...] = _TIMES
) -> Metric:
    return Metric(name, "histogram", explanation, labels, buckets)


_OF_ALL: Final = (
    _gauge("build_info", "Always 1; the label is the release.", "version", across="max"),
    _gauge("process_ready", "1 if the process can do its work, as `/readyz` says.", across="min"),
    _counter(
        "store_errors_total",
        "Failures and denied accesses of a server that a process waited for or answered.",
        "store",
    ),
    _counter("store_retries_total", "Steps that were tried again after a failure.", "store"),
    _gauge(
        "certificate_expiry_timestamp_seconds",
        "When a certificate expires: of a chain the first, of several authorities the last. The "
        "label is the setting that names the file.",
        "certificate",
        across="min",
    ),
    _gauge(
        "kafka_client_broker_rtt_seconds",
        "Mean round trip to the slowest broker, as the client measured it.",
        "client",
        across="max",
    ),
    _gauge(
        "kafka_client_connected_brokers",
        "Brokers that the client is connected to.",
        "client",
        across="min",
    ),
    _gauge(
        "kafka_client_queued_messages",
        "Messages in the client: fetched and not taken, or produced and not confirmed.",
        "client",
    ),
    _counter("kafka_client_rebalances_total", "Rebalances of the consumer's group.", "client"),
)
_OF_READERS: Final = (
    _gauge(
        "dead_letters_open",
        "Dead letters that are not settled; each reader follows its own.",
        "reader",
        across="max",
    ),
    _gauge(
        "dead_letters_oldest_timestamp_seconds",
        "When the oldest open dead letter was written; absent without one.",
        "reader",
        across="min",
    ),
)
_OF_HANDLERS: Final = (
    _counter("commands_decided_total", "Commands that were answered.", "kind", "outcome"),
    _histogram(
        "command_seconds",
        "From the time at which a command was sent, by its sender's clock, to the commit of the "
        "transaction that decided it or sent it to another partition. Of a large batch, a sample "
        "is measured and counted for the others.",
    ),
    _histogram("handler_decision_seconds", "Deciding one batch."),
    _histogram("handler_commit_seconds", "Committing one batch to Kafka."),
    _histogram("handler_batch_commands", "Commands and messages in a batch.", buckets=_SIZES),
    _counter("handler_transactions_total", "Transactions by how they ended.", "result"),
    _counter(
        "handler_fenced_total",
        "How often Kafka refused the handler because of another process. If its transactional id "
        "was taken over, the process ends: then look for restarts.",
    ),
    _gauge("handler_partitions", "Partitions assigned to the handler.", "state"),
    _gauge("handler_restore_records", "Offsets that a running restore has to read.", "partition"),
    _gauge("handler_restored_records", "Offsets that it has read.", "partition"),
    _histogram("handler_restore_seconds", "Restoring one partition.", buckets=_LONG_TIMES),
    _gauge(
        "handler_commands_waiting",
        "Commands that are not decided: from the group's committed offset to the end of the log, "
        "both as the brokers report them.",
        "partition",
    ),
    _gauge("handler_last_commit_timestamp_seconds", "The latest committed batch.", across="max"),
    _gauge("handler_open_claims", "Addresses reserved by changes that are not decided yet."),
    _gauge("handler_oldest_open_claim_seconds", "Age of the oldest of them.", across="max"),
    _gauge(
        "handler_oldest_open_segment_seconds",
        "Age, at most, of the oldest record in a segment that must still be closed, so that "
        "compaction can remove what was erased.",
        "topic",
        across="max",
    ),
    _gauge(
        "handler_open_segment_limit_seconds",
        "The age at which the handler closes such a segment.",
        "topic",
        across="max",
    ),
)
_VERSION: Final = ("read_model", "version")
_OF_PROJECTORS: Final = (
    _gauge(
        "projector_lag_events",
        "Events that are on the log and not applied, in the partitions of this process.",
        *_VERSION,
    ),
    _gauge(
        "projector_lag_seconds",
        "Age of the oldest event that is not applied; 0 if there is none.",
        *_VERSION,
        across="max",
    ),
    _counter("projector_events_applied_total", "Records that were applied.", *_VERSION),
    _histogram(
        "projector_batch_seconds",
        "One batch: reading it from Kafka (with the wait for its first record), decoding and "
        "packing it, writing it to the store.",
        *_VERSION,
        "stage",
    ),
    _gauge(
        "projector_newest_event_timestamp_seconds",
        "When the newest applied event happened.",
        *_VERSION,
        across="max",
    ),
    _gauge("projector_state", "1 for the present state, 0 for the others.", *_VERSION, "state"),
    _gauge("projector_live", "1 if queries see this version.", *_VERSION, across="max"),
    _gauge("projector_partitions", "Partitions assigned to this process.", *_VERSION),
)
_OF_SERVICES: Final = (
    _counter(
        "http_requests_total", "Answered requests.", *("service", "method", "route", "status")
    ),
    _histogram(
        "http_request_seconds", "Answering one request; a stream to its end.", "service", "route"
    ),
    _gauge("http_requests_in_flight", "Requests that are being answered.", "service"),
)


def _served_by(metrics: tuple[Metric, ...], *kinds: str) -> tuple[Metric, ...]:
    return tuple(replace(metric, served_by=kinds) for metric in metrics)


METRICS: Final = (
    *_OF_ALL,
    *_served_by(_OF_READERS, HANDLER, PROJECTOR),
    *_served_by(_OF_HANDLERS, HANDLER),
    *_served_by(_OF_PROJECTORS, PROJECTOR),
    *_served_by(_OF_SERVICES, SERVICE),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}
