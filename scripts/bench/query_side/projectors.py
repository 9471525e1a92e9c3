"""`rollbook bench projectors`: what is measured on the query side, in which order.

Repeats are interleaved: every repeat measures each thing once, so that other load on the machine
affects all of them alike.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

from projectors.elasticsearch.index.bulk import IN_FLIGHT
from runtime.settings import Settings
from schemas.errors import RollbookError
from scripts.bench.peers import debezium, quix
from scripts.bench.peers.topics import peer_topics
from scripts.bench.query_side import our_projectors, upper_bounds
from scripts.bench.query_side.projector_findings import DEBEZIUM, FIGURES, PEERS, Plan
from scripts.bench.query_side.query_load import measure_under_load
from scripts.bench.query_side.visible import STORES, visible_ms
from scripts.bench.report.measure import Findings
from scripts.bench.workload.event_log import EventWriter, events, write_compacted
from scripts.bench.workload.processes import running_handlers, running_projector
from scripts.bench.workload.registry_under_test import fresh_registry
from scripts.bench.workload.stores import UserIndex, UserTable, empty_user_index, empty_user_table

_MOST_WARM_FILLINGS: Final = 8
_FASTER: Final = 1.03


def measure(settings: Settings, plan: Plan) -> Findings:
    """Measure everything in `plan` on the servers of `settings`."""
    findings = Findings(plan.as_json)
    with ExitStack() as stack:
        steps: list[Callable[[], None]] = []
        if plan.measures("postgres", "elasticsearch"):
            steps.append(_Filling(settings, plan, findings, stack).repeat)
        if plan.measures("rebuild"):
            rebuilds = _Rebuilds(settings, plan, findings, stack)
            steps.append(partial(_attempt, findings, "rebuild", rebuilds.compare))
        if plan.measures("visible"):
            visible = partial(_visible, settings, findings)
            steps.append(partial(_attempt, findings, "visible", visible))
        for repeat in range(plan.repeats if steps else 0):
            findings.report(f"repeat {repeat + 1} of {plan.repeats}")
            for step in steps:
                step()
    if plan.measures("queries"):
        _attempt(findings, "queries", lambda: _queries(settings, plan, findings))
    if plan.measures("search"):
        _attempt(findings, "search", lambda: _search(settings, findings))
    return findings


def _attempt(findings: Findings, name: str, run: Callable[[], None]) -> None:
    """Run one measurement; if it fails, it is not retried, and the others continue."""
    if name in findings.unavailable:
        return
    try:
        run()
    except RollbookError as error:
        findings.leave_out(name, error, FIGURES.get(name, ()))


class _Filling:
    """The same users written to the stores by our projectors, by the peers and by bulk loading."""

    def __init__(
        self, settings: Settings, plan: Plan, findings: Findings, stack: ExitStack
    ) -> None:
        self._plan = plan
        self._findings = findings
        self._count = plan.users
        findings.report(f"writing {self._count:,} users for our projectors and for the peers")
        self._registry = stack.enter_context(fresh_registry(settings))
        EventWriter(self._registry).write(events(self._count))
        self._topics = stack.enter_context(peer_topics(self._registry, self._count))
        if plan.measures("elasticsearch"):
            findings.report("filling an index until Elasticsearch gets no faster")
            # Otherwise the first writer measured, which is ours, would bear that cost for all.
            _warm_up(self._bulk)
        if plan.measures("postgres"):
            findings.report("filling a table until Debezium gets no faster")
            _attempt(findings, "debezium", partial(self._start_debezium, settings, stack))

    def _start_debezium(self, settings: Settings, stack: ExitStack) -> None:
        self._debezium = stack.enter_context(debezium.running_worker(settings))

        def fill() -> float:
            with empty_user_table(self._registry) as table:
                return self._debezium.rows_per_second(self._topics.rows, table, self._count)

        _warm_up(fill)

    def _bulk(self, at_once: int = IN_FLIGHT) -> float:
        with empty_user_index(self._registry) as index:
            return upper_bounds.bulk_documents_per_second(index, self._count, at_once)

    def repeat(self) -> None:
        """Measure everything once."""
        if self._plan.measures("postgres"):
            self._postgres()
        if self._plan.measures("elasticsearch"):
            self._elasticsearch()

    def _postgres(self) -> None:
        findings, count = self._findings, self._count
        ours = our_projectors.project(self._registry, "postgres", count)
        findings.add("postgres_live_per_second", ours.per_second)
        findings.add("projector_rss_mb", ours.resident_mb)
        two = our_projectors.project(self._registry, "postgres", count, processes=2)
        findings.add("postgres_two_processes_per_second", two.per_second)
        seconds = our_projectors.rebuild(self._registry, "postgres")
        findings.add("postgres_rebuild_per_second", count / seconds.serving)
        findings.add("postgres_rebuild_and_compare_per_second", count / seconds.compared)
        rows = self._topics.rows

        def by_quix(table: UserTable) -> float:
            return quix.quix_rows_per_second(self._registry, rows, table, count)

        _attempt(findings, "debezium", self._by_debezium)
        write = partial(self._into_table, PEERS["quix_postgres"], by_quix)
        _attempt(findings, "quix_postgres", write)
        for name, copy in (
            ("copy_into_table_per_second", upper_bounds.copied_rows_per_second),
            ("copy_into_heap_per_second", upper_bounds.copied_heap_rows_per_second),
        ):
            rates = []
            for connections in upper_bounds.COPY_CONNECTIONS:
                with empty_user_table(self._registry) as table:
                    rates.append(copy(table, count, connections))
            findings.add(name, max(rates))

    def _by_debezium(self) -> None:
        for name, tasks in DEBEZIUM.items():
            with empty_user_table(self._registry) as table:
                rate = self._debezium.rows_per_second(self._topics.rows, table, self._count, tasks)
                self._findings.add(name, rate)

    def _into_table(self, name: str, write: Callable[[UserTable], float]) -> None:
        with empty_user_table(self._registry) as table:
            self._findings.add(name, write(table))

    def _elasticsearch(self) -> None:
        findings, count = self._findings, self._count
        ours = our_projectors.project(self._registry, "elasticsearch", count)
        findings.add("elasticsearch_live_per_second", ours.per_second)
        findings.add("elasticsearch_projector_rss_mb", ours.resident_mb)
        name, peer = "quix_elasticsearch", quix.quix_documents_per_second
        write = partial(peer, self._registry, self._topics.documents, count=count)
        _attempt(findings, name, partial(self._into_index, PEERS[name], write))
        findings.add("bulk_per_second", max(map(self._bulk, upper_bounds.BULK_AT_ONCE)))

    def _into_index(self, name: str, write: Callable[[UserIndex], float]) -> None:
        with empty_user_index(self._registry) as index:
            self._findings.add(name, write(index))


def _warm_up(fill: Callable[[], float]) -> None:
    """Fill a store until a JVM gets no faster: cold code takes three times as long."""
    best = 0.0
    for _ in range(_MOST_WARM_FILLINGS):
        rate = fill()
        if rate < best * _FASTER:
            return
        best = rate


class _Rebuilds:
    """Two logs of the same users: as they were created, and after updates and compaction."""

    def __init__(
        self, settings: Settings, plan: Plan, findings: Findings, stack: ExitStack
    ) -> None:
        self._count = plan.updated_users
        self._findings = findings
        self._plain = stack.enter_context(fresh_registry(settings))
        self._compacted = stack.enter_context(fresh_registry(settings))
        EventWriter(self._plain).write(events(self._count))
        findings.report(f"updating {self._count:,} users ten times, then waiting for compaction")
        _attempt(findings, "rebuild", self._update)

    def _update(self) -> None:
        left = write_compacted(self._compacted, self._count)
        self._findings.report(f"  {left:,} events are left")

    def compare(self) -> None:
        """Rebuild from both."""
        for name, registry in (("plain", self._plain), ("compacted", self._compacted)):
            seconds = our_projectors.rebuild(registry, "postgres").serving
            self._findings.add(f"rebuild_{name}_seconds", seconds)


def _visible(settings: Settings, findings: Findings) -> None:
    """Measure an empty, idle system; `_queries` measures a full one under load."""
    with ExitStack() as stack:
        registry = stack.enter_context(fresh_registry(settings))
        stack.enter_context(running_handlers(registry))
        for store in STORES:
            stack.enter_context(running_projector(registry, store))
        for store, taken in visible_ms(registry, "visible").items():
            findings.add_percentiles(f"visible_ms {store}", taken)


def _queries(settings: Settings, plan: Plan, findings: Findings) -> None:
    findings.report(f"filling both read models with {plan.queries_users:,} users")
    with fresh_registry(settings) as registry:
        found = measure_under_load(registry, plan.queries_users, plan.repeats)
    findings.add("projector_rss_mb_after_queries_users", found.resident_mb["postgres"])
    name = "elasticsearch_projector_rss_mb_after_queries_users"
    findings.add(name, found.resident_mb["elasticsearch"])
    for name, repeats in (
        ("query_ms", found.query_ms),
        ("visible_under_load_ms", found.visible_ms),
    ):
        for repeat in repeats:
            for kind, taken in repeat.items():
                findings.add_percentiles(f"{name} {kind}", taken)
    for by_readers in found.readers:
        for readers, one in by_readers.items():
            findings.add(f"readers {readers} per_second", one.per_second)
            for kind, taken in one.query_ms.items():
                findings.add_percentiles(f"readers {readers} {kind}", taken)


def _search(settings: Settings, findings: Findings) -> None:
    from scripts.bench.search.rates import generated_hits_at_1
    from scripts.bench.search.table import HELD_OUT, QUERIES, misses, search_people_index

    with search_people_index(settings) as own:
        for name, queries in (("search", QUERIES), ("search_held_out", HELD_OUT)):
            share = 1 - len(misses(own, queries)) / len(queries)
            findings.add(f"{name}_hit_at_1", share)
        for kind, share in generated_hits_at_1(own).items():
            findings.add(f"search_generated_hit_at_1 {kind}", share)
