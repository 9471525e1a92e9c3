"""`--observe`: a real Prometheus beside a stack evaluates our rules and scrapes what is there."""

from contextlib import closing
from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from scripts.stack.native.local import LocalStack
from scripts.stack.observe.prometheus import NODE_EXPORTER, observe, write_targets
from scripts.stack.record import read_record
from scripts.stack.system import bring_up
from tests.observed.alert_rules import alerts, recorded
from tests.started.processes import eventually
from tests.started.prometheus import Prometheus


def test_prometheus_loads_our_rules_and_scrapes_what_runs(bare: LocalStack) -> None:
    """A second call changes nothing; a process that does not answer is down, not unknown."""
    port = observe(bare, ["handler"], free_ports=True, interval="1s")
    with closing(Prometheus(port)) as prometheus:
        names = eventually(prometheus.healthy_rules, what="every rule is evaluated")
        assert names == set(alerts()) | recorded()
        eventually(lambda: prometheus.query('up{job="node"} == 1'), what="node_exporter is scraped")
        assert prometheus.query("node_filesystem_avail_bytes")

        record = read_record(bare.directory)
        assert record
        write_targets(bare.directory, {"handler": record.metrics["handler"]})
        [handler] = eventually(lambda: prometheus.query('up{process="handler"}'), what="a target")
        assert handler["metric"]["job"] == "rollbook"
        assert handler["value"][1] == "0"

    before = {name: bare.services()[name].pid for name in ("prometheus", NODE_EXPORTER)}
    assert observe(bare, ["handler"], free_ports=True, interval="1s") == port
    assert read_record(bare.directory) == record
    assert {name: bare.services()[name].pid for name in before} == before
    assert bare.services()["prometheus"].port == port


def test_a_port_in_use_is_named_before_anything_starts(
    bare: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = observe(bare, [], free_ports=True)
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path / "others"))
    with pytest.raises(Misconfigured, match=f"port {port} .* prometheus") as refused:
        bring_up(
            "native",
            "other",
            {"prometheus": port},
            free_ports=True,
            whole_system=False,
            observed=True,
        )
    assert refused.value.code == "port_taken"
    assert not LocalStack("other").directory.exists()
