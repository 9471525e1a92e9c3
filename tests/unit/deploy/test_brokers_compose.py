"""deploy/compose/brokers.yml, checked without Docker: what compose would make of both files."""

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest

from scripts.stack.brokers import BROKERS, CLUSTER_OPTIONS
from scripts.stack.docker import COMPOSE_FILE
from scripts.stack.places import BROKER_PORTS
from tests.unit.deploy.compose import merged_files

THREE = COMPOSE_FILE.parent / "deploy" / "compose" / "brokers.yml"
# What is not the same for every broker.
OWN = {"NODE_ID", "BROKER_RACK", "LISTENERS", "ADVERTISED_LISTENERS"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return merged_files(COMPOSE_FILE, THREE)


def environment(compose: dict[str, Any], name: str) -> dict[str, str]:
    """Return the variables of a service that Kafka reads, without their prefix."""
    found = compose["services"][name]["environment"]
    return {key.removeprefix("KAFKA_"): str(value) for key, value in found.items()}


def test_both_files_together_follow_the_published_schema(compose: dict[str, Any]) -> None:
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text("utf-8"))
    jsonschema.validate(compose, schema)


def test_all_brokers_are_alike_but_for_their_names_and_addresses(compose: dict[str, Any]) -> None:
    """The overlay repeats what docker-compose.yml has for the first one."""
    services = compose["services"]
    first, *others = ({**services[name]} for name in BROKERS)
    for one in (first, *others):
        del one["environment"], one["ports"], one["volumes"]
    assert others == [first, first]
    found = [environment(compose, name) for name in BROKERS]
    for option in OWN:
        assert len({one[option] for one in found}) == 3, option
    shared = [{key: v for key, v in one.items() if key not in OWN} for one in found]
    assert shared == [shared[0]] * 3


def test_the_options_are_those_of_the_native_stack(compose: dict[str, Any]) -> None:
    options = environment(compose, "kafka-3")
    for option, value in CLUSTER_OPTIONS.items():
        assert options[option.upper().replace(".", "_")] == str(value), option
    assert options["BROKER_RACK"] == "kafka-3"
    voters = [f"{n}@{name}:9093" for n, name in enumerate(BROKERS, 1)]
    assert options["CONTROLLER_QUORUM_VOTERS"] == ",".join(voters)


def test_the_ports_are_those_of_the_native_stack(compose: dict[str, Any]) -> None:
    for name in BROKERS[1:]:
        [published] = compose["services"][name]["ports"]
        port = BROKER_PORTS[name]
        assert published.endswith(f":-{port}}}:{port}")
        assert f"CLIENT://:{port}," in environment(compose, name)["LISTENERS"]


def test_every_client_is_given_all_brokers(compose: dict[str, Any]) -> None:
    """Each of our processes that talks to Kafka, and the registry."""
    addresses = ",".join(f"{name}:9092" for name in BROKERS)
    clients = 0
    for name, service in compose["services"].items():
        found = service.get("environment", {})
        if "ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS" in found and name != "console":
            clients += 1
            assert found["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"] == addresses, name
            assert found["ROLLBOOK_REPLICATION_FACTOR"] == 3, name
    assert clients == 7
    registry = environment(compose, "registry")
    assert registry["APICURIO_KAFKASQL_BOOTSTRAP_SERVERS"] == addresses
    assert set(compose["services"]["registry"]["depends_on"]) == set(BROKERS)
