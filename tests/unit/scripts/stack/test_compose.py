"""docker-compose.yml cannot be run where this is developed: what can be checked of it, is."""

import json
import re
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from runtime.settings import Settings
from scripts.stack.docker import COMPOSE_FILE, KIBANA_PORT, SERVERS
from scripts.stack.places import DEFAULT_PORTS
from scripts.stack.server_files import KAFKA_OPTIONS
from scripts.stack.system import SERVICES

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("docker-compose.yml", "compose-spec.json"),
        (".github/workflows/test.yml", "github-workflows.json"),
    ],
)
def test_the_file_follows_the_published_schema(path: str, schema: str) -> None:
    """Compose and GitHub accept the shape of what we give them."""
    pytest.importorskip("check_jsonschema")
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    content = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    # YAML 1.1 takes the key `on` for true; GitHub does not.
    content = {("on" if key is True else key): value for key, value in content.items()}
    jsonschema.validate(content, json.loads((folder / schema).read_text(encoding="utf-8")))


def test_every_server_is_pinned_and_says_when_it_is_healthy(compose: dict[str, Any]) -> None:
    """The same servers come up next year, and nothing starts before what it needs."""
    for name in SERVERS:
        service = compose["services"][name]
        assert re.search(r":\d+(\.\d+)*$", service["image"]), name
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_kafka_is_the_same_natively_and_no_broker_that_skips_transaction_markers(
    compose: dict[str, Any],
) -> None:
    """What the tests break is what Docker runs; KAFKA-20734 would double and lose commands."""
    pom = resources.files("scripts.stack").joinpath("pom.xml").read_text(encoding="utf-8")
    found = re.search(r"<kafka.version>(.+)</kafka.version>", pom)
    assert found
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{found[1]}"
    assert found[1] not in {"4.3.0", "4.3.1", "4.4.0"}


def test_ports_are_those_that_the_settings_expect(compose: dict[str, Any]) -> None:
    """A command without any settings finds the servers, native or not, and only this machine."""
    expected = {**DEFAULT_PORTS, "kibana": KIBANA_PORT}
    for name in SERVERS:
        (published,) = compose["services"][name]["ports"]
        variable = f"ROLLBOOK_{name.upper()}_PORT"
        assert published.startswith(f"127.0.0.1:${{{variable}:-{expected[name]}}}:"), name
    settings = Settings()
    urls = [
        (settings.kafka_bootstrap_servers, "kafka"),
        (settings.registry_url, "registry"),
        (settings.postgres_url, "postgres"),
        (settings.elasticsearch_url, "elasticsearch"),
    ]
    for url, name in urls:
        assert f"127.0.0.1:{DEFAULT_PORTS[name]}" in url


def test_kafka_has_the_native_stack_s_settings(compose: dict[str, Any]) -> None:
    """A test that passes on one stack passes on the other."""
    environment = compose["services"]["kafka"]["environment"]
    for option, value in KAFKA_OPTIONS.items():
        variable = "KAFKA_" + option.upper().replace(".", "_")
        assert str(environment[variable]) == str(value), option


def test_all_our_services_run_as_the_native_stack_runs_them(compose: dict[str, Any]) -> None:
    """`rollbook up` means the same processes in both modes, once the topics are there."""
    for name, arguments in SERVICES.items():
        service = compose["services"][name]
        assert service["command"] == arguments
        assert service["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_settings_of_our_services_exist(compose: dict[str, Any]) -> None:
    """A misspelt variable would be ignored without a word."""
    names = {f"ROLLBOOK_{name.upper()}" for name in Settings.__dataclass_fields__}
    for variable in compose["services"]["handler"]["environment"]:
        assert variable.removesuffix("_FILE") in names


def test_everything_referred_to_is_declared(compose: dict[str, Any]) -> None:
    """No service waits for, mounts or reads what the file does not have."""
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        volumes = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert volumes <= set(compose["volumes"])
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        assert {each["source"] for each in service.get("configs", [])} <= set(compose["configs"])
    for config in compose["configs"].values():
        assert (ROOT / config["file"]).is_file()


def test_kibana_gets_its_objects_from_the_same_release(compose: dict[str, Any]) -> None:
    """What imports them is the image that is there anyway, and fails loudly."""
    services = compose["services"]
    importing = services["kibana-objects"]
    assert importing["image"] == services["kibana"]["image"]
    assert importing["depends_on"] == {"kibana": {"condition": "service_healthy"}}
    (script,) = importing["command"]
    assert f"--form file=@{importing['configs'][0]['target']}" in script
    checked = subprocess.run(["bash", "-n", "-c", script], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_no_password_stands_in_the_file_or_on_a_command_line(compose: dict[str, Any]) -> None:
    """Passwords come from a file that the owner of the stack names."""
    for service in compose["services"].values():
        for variable in service.get("environment", {}):
            assert "PASSWORD" not in variable or variable.endswith("_FILE")
    assert "ROLLBOOK_POSTGRES_PASSWORD_FILE" in compose["secrets"]["postgres_password"]["file"]


def test_the_image_holds_every_package() -> None:
    """A new top-level package that .dockerignore keeps out would be missed only in production."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{package}" for package in packages} <= set(kept)
