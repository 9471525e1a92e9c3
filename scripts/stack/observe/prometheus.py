"""Prometheus beside a native stack: it scrapes our processes and evaluates our alert rules.

node_exporter runs as well, because the rules about disks need it. In containers,
docker-compose.yml does the same with deploy/prometheus/prometheus.yml.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from schemas.errors import Misconfigured, Unavailable
from scripts.stack.log_end import last_lines
from scripts.stack.native.local import LocalStack
from scripts.stack.observe.debian import find_program
from scripts.stack.places import HOST, Report, free_port, require_free
from scripts.stack.record import StackRecord, read_record, write_private, write_record

PROMETHEUS_PORT = 19090
RULES = Path(__file__).parents[3] / "deploy" / "prometheus" / "rules.yml"
NODE_EXPORTER = "node-exporter"
# A developer does not wait long for a graph, and a stack has about ten targets.
INTERVAL = "5s"
# Together these bound what a forgotten stack keeps.
_RETENTION = ("--storage.tsdb.retention.time=15d", "--storage.tsdb.retention.size=2GB")
_START_SECONDS = 60.0


def observe(
    stack: LocalStack,
    services: Iterable[str],
    *,
    port: int | None = None,
    free_ports: bool = False,
    report: Report = lambda _line: None,
    interval: str = INTERVAL,
    rules: Path = RULES,
) -> int:
    """Run Prometheus on a stack that is up, and choose where each of `services` has its metrics.

    Returns Prometheus's port: `port`, else a free or the default one. It scrapes at every
    `interval` and evaluates `rules`. Nothing changes if it runs.
    Raises `Misconfigured` if it cannot be found or the port is in use, `Unavailable` if it does not
    become ready.
    """
    paths = _programs(rules, report)
    was_observed = _is_observed(stack)
    record = _choose_ports(stack, services, port, free_ports=free_ports)
    if not was_observed:
        write_targets(stack.directory, {})  # the file may have those of an earlier start
    configuration = stack.directory / "prometheus" / "prometheus.json"
    write_private(
        configuration, json.dumps(_configuration(stack.directory, rules, interval), indent=1)
    )
    options = (_prometheus_options(configuration, record), _node_exporter_options(record))
    for name, path, one in zip(("prometheus", NODE_EXPORTER), paths, options, strict=True):
        stack.supervisor.run_service(name, [str(path), *one], {})
    chosen = record.ports["prometheus"]
    _wait_until_ready(stack, chosen)
    return chosen


def require_observable(
    stack: LocalStack, *, port: int | None, free_ports: bool, report: Report
) -> None:
    """Raise the `Misconfigured` of `observe` before any server has started."""
    _programs(RULES, report)
    if (port or not free_ports) and not (stack.supervisor.runs() and _is_observed(stack)):
        require_free({"prometheus": port or PROMETHEUS_PORT})


def _programs(rules: Path, report: Report) -> Sequence[Path]:
    """Return the paths of Prometheus and node_exporter."""
    if not rules.is_file():
        raise Misconfigured(
            f"this installation lacks {rules}",
            code="no_prometheus",
            next_step="run rollbook from a clone",
        )
    return [find_program(name, report) for name in ("prometheus", "prometheus-node-exporter")]


def _is_observed(stack: LocalStack) -> bool:
    record = read_record(stack.directory)
    return record is not None and "prometheus" in record.ports


def _prometheus_options(configuration: Path, record: StackRecord) -> Sequence[str]:
    return (
        f"--config.file={configuration}",
        f"--storage.tsdb.path={configuration.parent / 'data'}",
        f"--web.listen-address={HOST}:{record.ports['prometheus']}",
        *_RETENTION,
    )


def _node_exporter_options(record: StackRecord) -> Sequence[str]:
    return (
        f"--web.listen-address={HOST}:{record.metrics[NODE_EXPORTER]}",
        "--collector.disable-defaults",
        "--collector.filesystem",  # of all that it can measure, our rules need only this
    )


def _choose_ports(
    stack: LocalStack, services: Iterable[str], port: int | None, *, free_ports: bool
) -> StackRecord:
    """Add the ports that the stack's record lacks, and return it."""
    record = read_record(stack.directory) or StackRecord("native", {})
    ports, metrics = dict(record.ports), dict(record.metrics)
    if "prometheus" not in ports:
        taken = {*ports.values(), *metrics.values()}
        ports["prometheus"] = port or (free_port(taken) if free_ports else PROMETHEUS_PORT)
        require_free({"prometheus": ports["prometheus"]})
    for name in (*services, NODE_EXPORTER):
        if name not in metrics:
            metrics[name] = free_port({*ports.values(), *metrics.values()})
    record = replace(record, ports=ports, metrics=metrics)
    write_record(stack.directory, record)
    return record


def _configuration(stack: Path, rules: Path, interval: str) -> dict[str, object]:
    """Return Prometheus's configuration for the stack in folder `stack`; JSON is YAML, too."""
    targets = {"files": [str(targets_file(stack))], "refresh_interval": interval}
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "rollbook", "file_sd_configs": [targets]}],
    }


def targets_file(stack: Path) -> Path:
    """Return the path of the file that lists what Prometheus scrapes."""
    return stack / "prometheus" / "targets.json"


def write_targets(stack: Path, ports: Mapping[str, int]) -> None:
    """Have Prometheus scrape each process at its port, and node_exporter; it notices by itself."""
    record = read_record(stack)
    node = record.metrics.get(NODE_EXPORTER) if record else None
    targets = [_target(port, process=name) for name, port in ports.items()]
    if node:
        targets.append(_target(node, job="node"))
    write_private(targets_file(stack), json.dumps(targets, indent=1))


def _target(port: int, **labels: str) -> dict[str, object]:
    return {"targets": [f"{HOST}:{port}"], "labels": labels}


def _wait_until_ready(stack: LocalStack, port: int) -> None:
    began = time.monotonic()
    while not _is_ready(port):
        service = stack.services()["prometheus"]
        if service.state == "exited" or time.monotonic() - began > _START_SECONDS:
            raise Unavailable(
                f"prometheus is not ready; its log {service.log} ends with:\n"
                + last_lines(Path(service.log)),
                code="service_failed",
                next_step=f"fix the cause and try again; the whole log: {service.log}",
            )
        time.sleep(0.1)


def _is_ready(port: int) -> bool:
    # Without this handler urllib would send the request through a configured proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{HOST}:{port}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 - OK
    except (urllib.error.URLError, OSError):
        return False
