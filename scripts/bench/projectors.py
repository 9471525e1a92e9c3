"""`rollbook bench projectors`: what is measured of the query side, in which order.

Repeats are interleaved: every repeat measures each thing once, so that what the machine does beside
falls on all alike.
"""

from collections.abc import Callable
from contextlib import ExitStack

from runtime.settings import Settings
from schemas.errors import RollbookError
from scripts.bench import our_projectors, peer_debezium, peer_quix, store_limits
from scripts.bench.compacted_log import write_compacted
from scripts.bench.event_log import EventWriter, events
from scripts.bench.measure import percentiles
from scripts.bench.peer_topics import PeerTopics, peer_topics
from scripts.bench.projector_findings import PEERS, Findings, Plan
from scripts.bench.query_load import query_ms
from scripts.bench.registry_under_test import fresh_registry
from scripts.bench.user_index import UserIndex, empty_user_index
from scripts.bench.user_table import UserTable, empty_user_table
from scripts.bench.visible import visible_ms


def measure(settings: Settings, plan: Plan) -> Findings:
    """Measure everything in `plan` on the servers of `settings`."""
    findings = Findings(plan)
    if plan.measures("postgres", "elasticsearch", "rebuild", "visible"):
        _repeats(settings, findings)
    if plan.measures("queries"):
        _queries(settings, findings)
    if plan.measures("search"):
        _search(settings, findings)
    return findings


def _repeats(settings: Settings, findings: Findings) -> None:
    plan = findings.plan
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry(settings))
        findings.tell(f"writing {plan.users:,} users for ours and for the peers")
        EventWriter(registry).write(events(plan.users))
        topics = stack.enter_context(peer_topics(registry, plan.users))
        rebuilds = _Rebuilds(settings, findings, stack) if plan.measures("rebuild") else None
        for repeat in range(plan.repeats):
            findings.tell(f"repeat {repeat + 1} of {plan.repeats}")
            if plan.measures("postgres"):
                _postgres(registry, findings, topics)
            if plan.measures("elasticsearch"):
                _elasticsearch(registry, findings, topics)
            if rebuilds is not None:
                rebuilds.compare(findings)
            if plan.measures("visible"):
                _visible(settings, findings)


def _postgres(registry: Settings, findings: Findings, topics: PeerTopics) -> None:
    count = findings.plan.users
    ours = our_projectors.project(registry, "postgres", count)
    findings.add("postgres_live_per_second", ours.per_second)
    findings.add("projector_rss_mb", ours.resident_mb)
    seconds = our_projectors.rebuild(registry, "postgres")
    findings.add("postgres_rebuild_per_second", count / seconds.serving)
    findings.add("postgres_rebuild_and_compare_per_second", count / seconds.compared)

    def into_table(write: Callable[[UserTable], float]) -> Callable[[], float]:
        def run() -> float:
            with empty_user_table(registry) as table:
                return write(table)

        return run

    rows = topics.rows
    debezium = peer_debezium.debezium_rows_per_second
    _try_peer(findings, "debezium", into_table(lambda t: debezium(registry, rows, t, count)))
    quix = peer_quix.quix_rows_per_second
    _try_peer(findings, "quix_postgres", into_table(lambda t: quix(registry, rows, t, count)))
    copied = into_table(lambda t: store_limits.copied_rows_per_second(t, count))
    findings.add("copy_into_table_per_second", copied())
    heap = into_table(lambda t: store_limits.copied_heap_rows_per_second(t, count))
    findings.add("copy_into_heap_per_second", heap())


def _elasticsearch(registry: Settings, findings: Findings, topics: PeerTopics) -> None:
    count = findings.plan.users
    ours = our_projectors.project(registry, "elasticsearch", count)
    findings.add("elasticsearch_live_per_second", ours.per_second)
    findings.add("elasticsearch_projector_rss_mb", ours.resident_mb)

    def into_index(write: Callable[[UserIndex], float]) -> Callable[[], float]:
        def run() -> float:
            with empty_user_index(registry) as index:
                return write(index)

        return run

    quix, documents = peer_quix.quix_documents_per_second, topics.documents
    into = into_index(lambda i: quix(registry, documents, i, count))
    _try_peer(findings, "quix_elasticsearch", into)
    bulk = into_index(lambda i: store_limits.bulk_documents_per_second(i, count))
    findings.add("bulk_per_second", bulk())


def _try_peer(findings: Findings, name: str, run: Callable[[], float]) -> None:
    """Measure a peer; one that failed is not tried again, and everything else goes on."""
    if name in findings.unavailable:
        return
    try:
        findings.add(PEERS[name], run())
    except RollbookError as error:
        findings.leave_out(name, error)


class _Rebuilds:
    """Two logs of the same users: as they were created, and after updates and compaction."""

    def __init__(self, settings: Settings, findings: Findings, stack: ExitStack) -> None:
        count = findings.plan.updated_users
        self._plain = stack.enter_context(fresh_registry(settings))
        self._compacted = stack.enter_context(fresh_registry(settings))
        EventWriter(self._plain).write(events(count))
        findings.tell(f"updating {count:,} users ten times, and waiting for Kafka's cleaner")
        try:
            left = write_compacted(self._compacted, count)
            findings.tell(f"  {left:,} events are left")
        except RollbookError as error:
            findings.leave_out("compaction", error)

    def compare(self, findings: Findings) -> None:
        """Rebuild from both."""
        if "compaction" not in findings.unavailable:
            for name, registry in (("plain", self._plain), ("compacted", self._compacted)):
                seconds = our_projectors.rebuild(registry, "postgres").serving
                findings.add(f"rebuild_{name}_seconds", seconds)


def _visible(settings: Settings, findings: Findings) -> None:
    with fresh_registry(settings) as registry:
        for store, taken in visible_ms(registry).items():
            _add_percentiles(findings, f"visible_ms {store}", taken)


def _queries(settings: Settings, findings: Findings) -> None:
    plan = findings.plan
    findings.tell(f"filling both read models with {plan.queries_users:,} users")
    with fresh_registry(settings) as registry:
        found = query_ms(registry, plan.queries_users, plan.repeats)
    findings.add("projector_rss_mb_after_queries_users", found.resident_mb["postgres"])
    name = "elasticsearch_projector_rss_mb_after_queries_users"
    findings.add(name, found.resident_mb["elasticsearch"])
    for repeat in found.milliseconds:
        for query, taken in repeat.items():
            _add_percentiles(findings, f"query_ms {query}", taken)


def _search(settings: Settings, findings: Findings) -> None:
    from scripts.bench.search_table import hit_at_1

    findings.add("search_hit_at_1", hit_at_1(settings))


def _add_percentiles(findings: Findings, name: str, taken: list[float]) -> None:
    p50, p99 = percentiles(taken)
    findings.add(f"{name} p50", p50)
    findings.add(f"{name} p99", p99)
