"""deploy/compose/, checked without Docker: what compose would make of both files together."""

import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from scripts.stack.docker import COMPOSE_FILE
from tests.unit.deploy.compose import merged_files

SCALED = COMPOSE_FILE.parent / "deploy" / "compose" / "scaled.yml"
PROXY = SCALED.with_name("haproxy.cfg")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return merged_files(COMPOSE_FILE, SCALED)


def test_both_files_together_follow_the_published_schema(compose: dict[str, Any]) -> None:
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text("utf-8"))
    jsonschema.validate(compose, schema)


def test_what_is_scaled_shares_no_port_name_or_volume(compose: dict[str, Any]) -> None:
    """The second container of such a service would fail, or write to the files of the first."""
    ours = {n for n, one in compose["services"].items() if one["image"] == "rollbook:local"}
    assert "queries" in ours
    for name in ours - {"console"}:
        service = compose["services"][name]
        assert "container_name" not in service, name
        assert not service.get("ports"), name
        assert not service.get("volumes"), name


def test_every_handler_has_its_own_name(compose: dict[str, Any]) -> None:
    """The name of its container, as the shell inside it sees it."""
    handler = compose["services"]["handler"]
    [shell, option] = handler["entrypoint"]
    [script] = handler["command"]
    command = script.replace("$$", "$").replace("exec rollbook", "echo")
    told = subprocess.run(
        [shell, option, command], env={"HOSTNAME": "3f2a"}, capture_output=True, check=True
    )
    assert told.stdout.decode() == "handler run --instance 3f2a\n"


def test_the_proxy_has_the_ports_of_the_services(compose: dict[str, Any]) -> None:
    """Clients find the services where they are without it; the console goes through it too."""
    services = compose["services"]
    one = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))["services"]
    assert services["proxy"]["ports"] == one["commands"]["ports"] + one["queries"]["ports"]
    text = PROXY.read_text("utf-8")
    for name in ("commands", "queries"):
        port = one[name]["ports"][0].rpartition(":")[2]
        assert re.search(rf"frontend {name}\n    bind :{port}\n", text)
        assert f"{name} 16 {name}:{port}" in text
        url = services["console"]["environment"][f"ROLLBOOK_HTTP_{name.upper()}_URL"]
        assert url == f"http://proxy:{port}"
    [config] = services["proxy"]["configs"]
    assert (COMPOSE_FILE.parent / compose["configs"][config["source"]]["file"]) == PROXY


def test_haproxy_accepts_its_configuration(tmp_path: Path) -> None:
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not on PATH: its configuration was not checked")
    checked = subprocess.run(["haproxy", "-c", "-f", PROXY], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    broken = tmp_path / "haproxy.cfg"
    broken.write_text(PROXY.read_text("utf-8").replace("balance first", "balance fist"))
    checked = subprocess.run(["haproxy", "-c", "-f", broken], capture_output=True, check=False)
    assert checked.returncode != 0
