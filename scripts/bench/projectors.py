"""`rollbook bench projectors`: what is measured of the query side, in which order.

Repeats are interleaved: every repeat measures each thing once, so that what the machine does beside
falls on all alike.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

from runtime.settings import Settings
from schemas.errors import RollbookError
from scripts.bench import our_projectors, peer_debezium, peer_quix, store_limits
from scripts.bench.compacted_log import write_compacted
from scripts.bench.event_log import EventWriter, events
from scripts.bench.measure import percentiles
from scripts.bench.peer_topics import peer_topics
from scripts.bench.projector_findings import PEERS, Findings, Plan
from scripts.bench.query_load import query_ms
from scripts.bench.registry_under_test import fresh_registry
from scripts.bench.user_index import UserIndex, empty_user_index
from scripts.bench.user_table import UserTable, empty_user_table
from scripts.bench.visible import visible_ms

_MOST_WARM_FILLINGS: Final = 8
_FASTER: Final = 1.03


def measure(settings: Settings, plan: Plan) -> Findings:
    """Measure everything in `plan` on the servers of `settings`."""
    findings = Findings(plan)
    if plan.measures("postgres", "elasticsearch", "rebuild", "visible"):
        _repeats(settings, findings)
    if plan.measures("queries"):
        _attempt(findings, "queries", lambda: _queries(settings, findings))
    if plan.measures("search"):
        _attempt(findings, "search", lambda: _search(settings, findings))
    return findings


def _repeats(settings: Settings, findings: Findings) -> None:
    plan = findings.plan
    with ExitStack() as stack:
        filling = None
        if plan.measures("postgres", "elasticsearch"):
            filling = _Filling(settings, findings, stack)
        rebuilds = _Rebuilds(settings, findings, stack) if plan.measures("rebuild") else None
        for repeat in range(plan.repeats):
            findings.tell(f"repeat {repeat + 1} of {plan.repeats}")
            if filling is not None:
                filling.repeat()
            if rebuilds is not None:
                _attempt(findings, "rebuild", rebuilds.compare)
            if plan.measures("visible"):
                _attempt(findings, "visible", lambda: _visible(settings, findings))


class _Filling:
    """The stores filled by ours, by peers and by nobody but themselves, from the same users."""

    def __init__(self, settings: Settings, findings: Findings, stack: ExitStack) -> None:
        self._findings = findings
        self._count = findings.plan.users
        findings.tell(f"writing {self._count:,} users for ours and for the peers")
        self._registry = stack.enter_context(fresh_registry(settings))
        EventWriter(self._registry).write(events(self._count))
        self._topics = stack.enter_context(peer_topics(self._registry, self._count))

        if findings.plan.measures("elasticsearch"):
            findings.tell("filling an index until Elasticsearch gets no faster")
            self._warm()

    def _warm(self) -> None:
        """Have Elasticsearch's code compiled: cold, it takes three times as long.

        Who is measured first, which is us, would pay for all others.
        """
        best = 0.0
        for _ in range(_MOST_WARM_FILLINGS):
            with empty_user_index(self._registry) as index:
                rate = store_limits.bulk_documents_per_second(index, self._count)
            if rate < best * _FASTER:
                return
            best = rate

    def repeat(self) -> None:
        """Measure everything once."""
        if self._findings.plan.measures("postgres"):
            self._postgres()
        if self._findings.plan.measures("elasticsearch"):
            self._elasticsearch()

    def _postgres(self) -> None:
        findings, count = self._findings, self._count
        ours = our_projectors.project(self._registry, "postgres", count)
        findings.add("postgres_live_per_second", ours.per_second)
        findings.add("projector_rss_mb", ours.resident_mb)
        seconds = our_projectors.rebuild(self._registry, "postgres")
        findings.add("postgres_rebuild_per_second", count / seconds.serving)
        findings.add("postgres_rebuild_and_compare_per_second", count / seconds.compared)
        for name, peer in (
            ("debezium", peer_debezium.debezium_rows_per_second),
            ("quix_postgres", peer_quix.quix_rows_per_second),
        ):
            write = partial(peer, self._registry, self._topics.rows, count=count)
            _attempt(findings, name, partial(self._into_table, PEERS[name], write))
        copy, heap = store_limits.copied_rows_per_second, store_limits.copied_heap_rows_per_second
        self._into_table("copy_into_table_per_second", partial(copy, count=count))
        self._into_table("copy_into_heap_per_second", partial(heap, count=count))

    def _into_table(self, name: str, write: Callable[[UserTable], float]) -> None:
        with empty_user_table(self._registry) as table:
            self._findings.add(name, write(table))

    def _elasticsearch(self) -> None:
        findings, count = self._findings, self._count
        ours = our_projectors.project(self._registry, "elasticsearch", count)
        findings.add("elasticsearch_live_per_second", ours.per_second)
        findings.add("elasticsearch_projector_rss_mb", ours.resident_mb)
        name, peer = "quix_elasticsearch", peer_quix.quix_documents_per_second
        write = partial(peer, self._registry, self._topics.documents, count=count)
        _attempt(findings, name, partial(self._into_index, PEERS[name], write))
        bulk = partial(store_limits.bulk_documents_per_second, count=count)
        self._into_index("bulk_per_second", bulk)

    def _into_index(self, name: str, write: Callable[[UserIndex], float]) -> None:
        with empty_user_index(self._registry) as index:
            self._findings.add(name, write(index))


def _attempt(findings: Findings, name: str, run: Callable[[], None]) -> None:
    """Measure something; what failed is not tried again, and everything else goes on."""
    if name in findings.unavailable:
        return
    try:
        run()
    except RollbookError as error:
        findings.leave_out(name, error)


class _Rebuilds:
    """Two logs of the same users: as they were created, and after updates and compaction."""

    def __init__(self, settings: Settings, findings: Findings, stack: ExitStack) -> None:
        count = findings.plan.updated_users
        self._findings = findings
        self._plain = stack.enter_context(fresh_registry(settings))
        self._compacted = stack.enter_context(fresh_registry(settings))
        EventWriter(self._plain).write(events(count))
        findings.tell(f"updating {count:,} users ten times, and waiting for Kafka's cleaner")
        _attempt(findings, "rebuild", self._update)

    def _update(self) -> None:
        left = write_compacted(self._compacted, self._findings.plan.updated_users)
        self._findings.tell(f"  {left:,} events are left")

    def compare(self) -> None:
        """Rebuild from both."""
        for name, registry in (("plain", self._plain), ("compacted", self._compacted)):
            seconds = our_projectors.rebuild(registry, "postgres").serving
            self._findings.add(f"rebuild_{name}_seconds", seconds)


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
