from itertools import chain

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics.exposition import families, merged, render
from runtime.metrics.health import START, Health
from runtime.metrics.recording import Values
from runtime.metrics.table import HANDLER, METRICS, PROJECTOR, SERVICE
from schemas.errors import Unavailable

DECIDED = "rollbook_commands_decided_total"


def shown(*values: Values, kind: str = HANDLER) -> dict[tuple[str, ...], float]:
    """Return what is served of one process or several: the name and the labels → the value."""
    by_process = [families(one, kind) for one in values]
    text, _ = render(merged(by_process), "")
    parsed = text_string_to_metric_families(text.decode())
    samples = chain.from_iterable(family.samples for family in parsed)
    return {(one.name, *one.labels.values()): one.value for one in samples}


def test_names_and_labels_are_valid_and_say_their_unit() -> None:
    for metric in METRICS:
        assert metric.full_name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric.name
        assert metric.explanation.endswith("."), metric.name
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_a_counter_whose_labels_are_known_begins_at_zero() -> None:
    values = Values()
    assert shown(values)[DECIDED, "CreateUser", "accepted"] == 0
    values.count("commands_decided_total", "CreateUser", "accepted", by=3)
    assert shown(values)[DECIDED, "CreateUser", "accepted"] == 3


def test_an_observation_can_stand_for_several() -> None:
    values = Values()
    values.observe("command_seconds", 0.02, times=10)
    values.observe("command_seconds", 99.0)
    found = shown(values)
    assert found["rollbook_command_seconds_bucket", "0.01"] == 0
    assert found["rollbook_command_seconds_bucket", "0.025"] == 10
    assert found["rollbook_command_seconds_bucket", "10.0"] == 10
    assert found["rollbook_command_seconds_count",] == 11
    assert found["rollbook_command_seconds_sum",] == pytest.approx(99.2)


def test_a_partition_that_was_given_up_leaves_no_series() -> None:
    values = Values()
    values.replace("handler_commands_waiting", {("0",): 5.0, ("1",): 6.0})
    values.replace("handler_commands_waiting", {("1",): 7.0})
    assert ("rollbook_handler_commands_waiting", "0") not in shown(values)
    assert shown(values)["rollbook_handler_commands_waiting", "1"] == 7


def test_a_version_that_was_dropped_leaves_no_series() -> None:
    values = Values()
    for version in ("1", "12"):
        values.set("projector_live", 1, "postgres", version)
        values.observe("projector_batch_seconds", 1, "postgres", version, "read")
    values.remove("postgres", "1")
    found = shown(values, kind=PROJECTOR)
    assert not [key for key in found if key[1:3] == ("postgres", "1")]
    assert found["rollbook_projector_live", "postgres", "12"] == 1


def test_a_name_that_is_not_in_the_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        Values().count("surprises_total")


def test_processes_are_merged_as_the_table_says() -> None:
    one, other = Values(), Values()
    for values, number in ((one, 1.0), (other, 2.0)):
        values.set("process_ready", number - 1)
        values.set("handler_oldest_open_claim_seconds", number)
        values.set("handler_partitions", number, "ready")
        values.observe("handler_commit_seconds", number)
        values.set("handler_commands_waiting", number, str(number))
    found = shown(one, other)
    assert found["rollbook_process_ready",] == 0
    assert found["rollbook_handler_oldest_open_claim_seconds",] == 2
    assert found["rollbook_handler_partitions", "ready"] == 3
    assert found["rollbook_handler_commit_seconds_bucket", "1.0"] == 1
    assert found["rollbook_handler_commit_seconds_sum",] == 3
    assert found["rollbook_handler_commands_waiting", "1.0"] == 1
    assert found["rollbook_handler_commands_waiting", "2.0"] == 2


@pytest.mark.parametrize("kind", [HANDLER, PROJECTOR, SERVICE])
def test_openmetrics_is_served_on_request(kind: str) -> None:
    text, media_type = render(families(Values(), kind), "application/openmetrics-text;q=0.5")
    assert media_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_a_process_is_ready_while_no_part_lacks_anything() -> None:
    values = Values()
    health = Health(values)
    assert list(health.missing) == [START]
    health.lacks(Unavailable("no broker"), "ends")
    health.works(START)
    assert shown(values)["rollbook_process_ready",] == 0
    health.works("ends")
    assert health.missing == {}
    assert shown(values)["rollbook_process_ready",] == 1
    health.lacks(Unavailable("no broker"))
    assert list(health.missing) == ["MainThread"]
