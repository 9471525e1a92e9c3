"""deploy/compose/secure.yml, checked without Docker: what its containers would get and do."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cryptography.x509 import DNSName, SubjectAlternativeName, load_pem_x509_certificates

from runtime.roles.table import roles
from runtime.settings import Settings, load_settings
from scripts.serve import TABLE
from scripts.stack.docker import COMPOSE_FILE, SECURE_FILE, DockerStack
from scripts.stack.places import DEFAULT_PORTS, SECURE_PORTS
from scripts.stack.record import StackRecord, write_record
from scripts.stack.secure import containers, elasticsearch, postgres
from scripts.stack.secure.logins import password, registry_login
from scripts.stack.system import SECURE_SERVICES
from tests.unit.deploy.compose import merged_files

# Service → its role; the console logs in nowhere.
ROLES = {name: name for name in SECURE_SERVICES if name != "console"}
ROLES |= {"commands": "client", "operations": "operator"}
ROLES |= {"topics": "operator", "read-models": "operator"}
PORTS = {name: DEFAULT_PORTS[name] for name in TABLE} | SECURE_PORTS


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return merged_files(COMPOSE_FILE, SECURE_FILE)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stack, with everything that its containers get."""
    folder = tmp_path_factory.mktemp("stacks") / "secure"
    folder.mkdir()
    write_record(folder, StackRecord("docker", {"kafka": 19092}, secure=True))
    containers.write_files(folder, {"kafka": 19092})
    return folder


@pytest.fixture(scope="module")
def mounted(
    compose: dict[str, Any], stack: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Service → the folder that is /run/secrets in its container."""
    variables = containers.variables(stack) | {"ROLLBOOK_HTTP_KEYS": '{"keys": []}'}
    found = {}
    for name, service in compose["services"].items():
        found[name] = tmp_path_factory.mktemp(name)
        for one in service.get("secrets", []):
            source, target = (one, one) if isinstance(one, str) else (one["source"], one["target"])
            text = variables[compose["secrets"][source]["environment"]]
            (found[name] / Path(target).name).write_text(text, encoding="utf-8")
    return found


def settings_of(
    service: Mapping[str, Any], secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Return the settings of a process in a container, whose secrets are in another folder here."""
    for name in [name for name in os.environ if name.startswith("ROLLBOOK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ROLLBOOK_STACKS", str(secrets))
    for name, value in service["environment"].items():
        chosen = re.sub(r"\$\{\w+:-(\w*)\}", r"\1", str(value))
        monkeypatch.setenv(name, chosen.replace("/run/secrets", str(secrets)))
    return load_settings().settings


def test_both_files_together_follow_the_published_schema(compose: dict[str, Any]) -> None:
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text("utf-8"))
    jsonschema.Draft7Validator(schema).validate(compose)


def test_every_variable_is_given_to_compose(
    compose: dict[str, Any], stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose refuses to start with a secret from a variable that is not set."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(stack.parent))
    given = DockerStack(stack.name).compose_environment()
    used = {secret["environment"] for secret in compose["secrets"].values()}
    assert used - set(given) == {"ROLLBOOK_HTTP_KEYS"}


@pytest.mark.parametrize("name", ROLES)
def test_every_process_logs_in_as_its_role(
    compose: dict[str, Any],
    stack: Path,
    mounted: dict[str, Path],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over verified connections, by the settings that the real program reads."""
    service = compose["services"][name]
    settings = settings_of(service, mounted[name], monkeypatch)
    role = roles(Settings())[ROLES[name]]
    at_registry = registry_login(role.name)
    assert settings.kafka_security_protocol == "sasl_ssl"
    assert (settings.kafka_sasl_username, settings.registry_username) == (role.name, at_registry)
    assert settings.kafka_sasl_password == password(stack, role.name)
    assert settings.registry_password == password(stack, at_registry)
    assert settings.registry_url.startswith("https://registry:")
    assert "sslmode=verify-full" in settings.postgres_url
    assert "@" not in settings.postgres_url, "libpq would not use PGUSER"
    assert service["environment"].get("PGUSER") == (role.name if role.postgres else None)
    assert settings.elasticsearch_username == (role.name if role.elasticsearch else "")
    own = {password(stack, role.name), password(stack, at_registry)}
    held = {path.read_text().strip() for path in mounted[name].glob("*password*")}
    assert held == own


def test_the_console_has_no_login(
    compose: dict[str, Any], mounted: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(compose["services"]["console"], mounted["console"], monkeypatch)
    assert settings.http_commands_url == "https://commands:18082"
    files = {path.name for path in mounted["console"].iterdir()}
    assert files == {"http_keys", "ca.pem", "certificate.pem", "key.pem"}


def test_services_run_the_same_commands_as_in_the_native_secure_stack(
    compose: dict[str, Any],
) -> None:
    for name, arguments in SECURE_SERVICES.items():
        listen = ["--listen", f"0.0.0.0:{PORTS[name]}"] if name in PORTS else []
        assert compose["services"][name]["command"] == [*arguments, *listen]
    assert compose["services"]["operations"]["ports"] == [
        f"127.0.0.1:${{ROLLBOOK_OPERATIONS_PORT:-{PORTS['operations']}}}:{PORTS['operations']}"
    ]


@pytest.mark.parametrize("name", PORTS)
def test_every_service_has_tls_and_trusts_no_proxy(
    compose: dict[str, Any], mounted: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a certificate for its own name, under which the console calls it."""
    service = compose["services"][name]
    settings = settings_of(service, mounted[name], monkeypatch)
    assert settings.http_trusted_proxies == ""
    assert Path(settings.http_keys_file).is_file()
    shown, *_ = load_pem_x509_certificates(Path(settings.http_tls_certificate).read_bytes())
    names = shown.extensions.get_extension_for_class(SubjectAlternativeName).value
    assert {name, "localhost"} <= set(names.get_values_for_type(DNSName))
    [_, _, _, program] = service["healthcheck"]["test"]
    assert f"https://127.0.0.1:{PORTS[name]}/readyz" in program
    compile(program, name, "exec")


def test_servers_have_the_options_of_the_native_secure_stack(
    compose: dict[str, Any], mounted: dict[str, Path]
) -> None:
    """Those are tested with real servers; only paths differ."""
    services = compose["services"]
    native = {
        name: str(value).removeprefix("elasticsearch/")
        for name, value in elasticsearch.security_options().items()
    }
    given = services["elasticsearch"]["environment"]
    assert {name: str(given.get(name)) for name in native} == native
    plain = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))["services"]["postgres"]["command"]
    added = [one for one in services["postgres"]["command"] if one not in plain]
    options = postgres.security_options(Path("/run/secrets"), Path("/run/secrets"))
    assert added == [f"-c{name}={value}" for name, value in options.items()]
    properties = (mounted["kafka"] / "server.properties").read_text("utf-8")
    assert "PLAINTEXT" not in properties
    assert "StandardAuthorizer" in properties
    assert "quarkus.http.insecure-requests=disabled" in (
        mounted["registry"] / "registry.properties"
    ).read_text("utf-8")


def test_no_other_user_can_connect_to_postgres_without_tls(mounted: dict[str, Path]) -> None:
    lines = (mounted["postgres"] / "pg_hba.conf").read_text("utf-8").splitlines()
    assert [line.split()[0] for line in lines] == ["local", "hostssl"]


def test_the_broker_is_formatted_once_and_shows_no_secret(compose: dict[str, Any]) -> None:
    """By a script that is valid, and that passes its logins in a file."""
    [shell, option, script] = compose["services"]["kafka"]["command"]
    checked = subprocess.run([shell, "-n", option, script], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "@/run/secrets/format-options" in script
    for service in compose["services"].values():
        text = json.dumps([service.get("command"), service.get("environment")])
        assert "password=" not in text
