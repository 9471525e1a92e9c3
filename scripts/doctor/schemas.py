"""Checks of the schema registry: our schemas, their rules, and the ids of records on the log."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing

from runtime.kafka.clients import end_reader
from runtime.kafka.registry import COMPATIBILITY, Registry
from runtime.topics.log_ranges import LogRange, log_ranges, read_topic
from schemas.coding.codec import HEADER_BYTES, MAGIC, schema_text
from schemas.errors import Poisoned
from schemas.topics import EMAILS, EVENTS, HISTORY, SCHEMAS
from scripts.doctor.finding import Examination, Finding, ok, problem, warning

_SAMPLED_RECORDS = 20  # at both ends of each partition
_ENSURE = "`rollbook topics ensure` registers what is missing"
_RESTORE = "restore the registry's storage: without the schema these records cannot be decoded"


class RegistryFacts:
    """The registry of the settings."""

    def __init__(self, examination: Examination) -> None:
        self.settings = examination.settings
        self.registry = Registry(examination.settings)


def registered(facts: RegistryFacts) -> Iterator[Finding]:
    """Look up every schema of this release, and the rule for its changes. Registers nothing."""
    found = {name: facts.registry.find(schema_text(name)) for name in SCHEMAS}
    return schema_findings(found)


def schema_findings(found: Mapping[str, tuple[int, str] | None]) -> Iterator[Finding]:
    """Yield what is wrong with the schemas; each has an id and the rule for its changes."""
    for name, stored in found.items():
        if stored is None:
            yield problem(f"the schema {name} is not registered", _ENSURE)
        elif stored[1] != COMPATIBILITY:
            yield warning(
                f"changes of the schema {name} are checked as {stored[1] or 'by default'}, not as "
                f"{COMPATIBILITY}: the registry may accept one that breaks readers",
                _ENSURE,
            )
    if None not in found.values():
        yield ok(f"all {len(found)} schemas are registered")


def ids_on_log(facts: RegistryFacts) -> Iterator[Finding]:
    """Look up the ids of the first and last records of the topics that are kept for ever."""
    for topic in (EVENTS, HISTORY, EMAILS):
        ids: set[int] = set()
        partitions = range(facts.settings.partitions)
        for ranges in _ends(log_ranges(facts.settings, topic, partitions)):
            with closing(end_reader(facts.settings)) as consumer:
                for messages in read_topic(facts.settings, consumer, topic, ranges):
                    ids |= {
                        int.from_bytes(value[1:HEADER_BYTES])
                        for one in messages
                        if (value := one.value()) is not None and value[:1] == MAGIC
                    }
        yield from id_findings(
            topic.name, [one for one in sorted(ids) if not _is_known(facts, one)]
        )


def id_findings(topic: str, unknown: Collection[int]) -> Iterator[Finding]:
    """Yield the schema ids that the registry does not know."""
    for schema_id in unknown:
        text = f"records of {topic} have schema id {schema_id}, which the registry does not know"
        yield problem(text, _RESTORE)


def _is_known(facts: RegistryFacts, schema_id: int) -> bool:
    try:
        facts.registry.schema_by_id(schema_id)
    except Poisoned:
        return False
    return True


def _ends(ranges: Mapping[int, LogRange]) -> Iterator[dict[int, LogRange]]:
    yield {p: LogRange(r.low, min(r.end, r.low + _SAMPLED_RECORDS)) for p, r in ranges.items()}
    yield {p: LogRange(max(r.low, r.end - _SAMPLED_RECORDS), r.end) for p, r in ranges.items()}
