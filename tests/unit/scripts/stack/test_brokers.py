"""A stack with three brokers: what each is configured with, without starting one."""

from pathlib import Path
from typing import Any

import pytest

from runtime.settings import Settings
from schemas.errors import Misconfigured
from scripts.stack.access import choose_broker_count
from scripts.stack.brokers import CLUSTER_OPTIONS, broker_names
from scripts.stack.download.fetch import Artefacts
from scripts.stack.download.jdk import Jdk
from scripts.stack.native.local import LocalStack
from scripts.stack.native.server_files import KAFKA_OPTIONS, Site, kafka_properties
from scripts.stack.native.servers import programs
from scripts.stack.places import BROKER_PORTS, DEFAULT_PORTS, choose_ports
from scripts.stack.record import (
    StackRecord,
    password_file,
    plain_settings,
    write_private,
    write_record,
)
from scripts.stack.system import bring_up

PORTS = choose_ports({}, free=False, brokers=3)
BROKERS = ["kafka", "kafka-2", "kafka-3"]


def site(stack: Path, ports: dict[str, int]) -> Site:
    """Return a site whose servers are not installed."""
    return Site(
        stack=stack,
        data=stack / "data",
        configuration=stack / "configuration",
        logs=stack / "logs",
        password_file=stack / "password",
        java=Jdk(stack / "java", 25, "nowhere"),
        programs=Artefacts(stack, stack, stack, stack),
        ports=ports,
        user=None,
    )


def options_of(site: Site, broker: str) -> dict[str, str]:
    """Return a broker's configuration."""
    return dict(line.split("=", 1) for line in kafka_properties(site, broker).splitlines())


def test_no_two_brokers_share_a_port_folder_number_or_rack(tmp_path: Path) -> None:
    found = [options_of(site(tmp_path, PORTS), name) for name in BROKERS]
    for option in ("node.id", "listeners", "log.dirs", "broker.rack"):
        assert len({one[option] for one in found}) == 3, option
    assert {one["controller.quorum.voters"] for one in found} == {
        "1@127.0.0.1:19093,2@127.0.0.1:19095,3@127.0.0.1:19097"
    }


def test_every_topic_has_three_copies_of_which_two_confirm(tmp_path: Path) -> None:
    """Kafka's own and the registry's, which have the brokers' defaults, and ours."""
    for name in BROKERS:
        options = options_of(site(tmp_path, PORTS), name)
        factors = {key: value for key, value in options.items() if "replication.factor" in key}
        assert set(factors.values()) == {"3"}
        least = [value for key, value in options.items() if key.endswith(("min.isr", "replicas"))]
        assert least == ["2"] * 3
    ours = settings_of(tmp_path, PORTS)
    assert (ours.replication_factor, ours.min_insync_replicas) == (3, 2)


def test_a_replication_option_of_one_broker_is_replaced_for_three() -> None:
    replicated = {name for name in KAFKA_OPTIONS if "replica" in name or "isr" in name}
    assert replicated < set(CLUSTER_OPTIONS)


def settings_of(stack: Path, ports: dict[str, int]) -> Settings:
    """Return the settings of a plain stack."""
    write_private(password_file(stack), "made-up\n")
    return plain_settings(stack, ports)


def test_every_client_is_given_all_brokers(tmp_path: Path) -> None:
    """One whose first broker is down finds another one; the registry too."""
    addresses = "127.0.0.1:19092,127.0.0.1:19094,127.0.0.1:19096"
    assert settings_of(tmp_path, PORTS).kafka_bootstrap_servers == addresses
    started = {one.name: one for one in programs(site(tmp_path, PORTS))}
    assert list(started)[:3] == BROKERS
    assert f"-Dapicurio.kafkasql.bootstrap.servers={addresses}" in started["registry"].command


def test_one_broker_is_the_default(tmp_path: Path) -> None:
    ports = choose_ports({}, free=False)
    assert ports == DEFAULT_PORTS
    assert broker_names(ports) == ["kafka"]
    assert "broker.rack" not in options_of(site(tmp_path, ports), "kafka")
    assert settings_of(tmp_path, ports).replication_factor == 1


def test_a_stack_keeps_its_number_of_brokers(tmp_path: Path) -> None:
    """Its data are of so many: a later start asks for the same number, or for none."""
    assert [choose_broker_count(tmp_path, n, secure=False) for n in (None, 1, 3)] == [1, 1, 3]
    write_record(tmp_path, StackRecord("native", PORTS))
    assert [choose_broker_count(tmp_path, n, secure=False) for n in (None, 3)] == [3, 3]
    with pytest.raises(Misconfigured, match="started with 3 brokers"):
        choose_broker_count(tmp_path, 1, secure=False)
    write_record(tmp_path, StackRecord("native", DEFAULT_PORTS))
    with pytest.raises(Misconfigured, match="started with 1 broker,"):
        choose_broker_count(tmp_path, 3, secure=False)


def test_a_secure_stack_has_one_broker(tmp_path: Path) -> None:
    assert choose_broker_count(tmp_path, None, secure=True) == 1
    with pytest.raises(Misconfigured, match="a secure stack has one broker"):
        choose_broker_count(tmp_path, 3, secure=True)


def test_containers_get_three_brokers_from_compose() -> None:
    options: dict[str, Any] = {"free_ports": True, "whole_system": False}
    with pytest.raises(Misconfigured, match="--brokers is for native stacks") as refused:
        bring_up("docker", "any", {}, brokers=3, **options)
    assert "deploy/compose/brokers.yml" in refused.value.next_step


def test_the_status_shows_every_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    stack = LocalStack("three")
    write_record(stack.directory, StackRecord("native", PORTS))
    servers = stack.servers()
    assert list(servers) == [*BROKERS, "registry", "postgres", "elasticsearch"]
    assert servers["kafka-3"].port == BROKER_PORTS["kafka-3"]
