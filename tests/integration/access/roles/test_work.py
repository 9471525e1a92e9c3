"""A whole registry on the secure stack, each process and command with the login of its role."""

import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest
import trustme

from tests.depth import DEEP
from tests.integration.projectors.service.http import QueryService
from tests.started.processes import Rollbook, eventually
from tests.started.services import Service

pytestmark = pytest.mark.skipif(not DEEP, reason="needs all servers; `make test-deep` runs it")

JANE: Final = {"email": "jane@example.com", "name": "Jane Doe", "age": 34}
CREATE: Final = ("users", "create", "--email", "joe@example.com", "--name", "Joe", "--age", "40")
LIST: Final = ("users", "list")
SEARCH: Final = ("users", "search", "jane")
MODELS: Final = ("postgres", "elasticsearch", "history")


@pytest.fixture
def running(deployed: dict[str, Rollbook]) -> dict[str, Rollbook]:
    """`rollbook` with each login, with a handler and all projectors running."""
    deployed["handler"].start_handler()
    for model in MODELS:
        deployed[f"projector-{model}"].start_projector(model).wait_for("assigned: partitions [0")
    return deployed


def test_every_role_can_do_its_work(running: dict[str, Rollbook]) -> None:
    """Create, update, find, erase, rebuild, verify; no process is denied anything it asks for."""
    client, queries, operator = running["client"], running["queries"], running["operator"]
    jane = client.json("users", "create", *_options(JANE))["user_id"]
    gone = client.json(*CREATE)["user_id"]
    client.json("users", "update", jane, "--age", "35")
    client.json("users", "change-email", jane, "-", stdin='{"email":"jane.d@example.com"}')
    client.json("users", "erase", gone, "--yes")
    eventually(lambda: [one["user_id"] for one in queries.ndjson("users", "list")] == [jane])
    eventually(lambda: len(queries.ndjson("users", "search", "jane")) == 1, what="search")
    eventually(lambda: len(queries.ndjson("users", "history", jane)) == 3, what="history")
    assert queries.json("users", "get", jane)["age"] == 35
    assert queries.ndjson("dead-letters", "list") == []
    assert queries.run("projector", "status").returncode == 0
    assert queries.run("events", "tail", "--no-follow", "--json").returncode == 0
    for model in MODELS:
        rebuilt = operator.run("projector", "rebuild", model)
        assert rebuilt.returncode == 0, (model, rebuilt.stderr)
        swapped = operator.run("projector", "swap", model, "2")
        assert swapped.returncode == 0, (model, swapped.stderr)
    client.json("users", "update", jane, "--age", "36")
    eventually(lambda: queries.json("users", "get", jane)["age"] == 36, what="the new version")
    verified = operator.run("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for role, rollbook in running.items():
        assert "denies" not in rollbook.last_output(1000), role


def test_services_do_their_work_and_no_more(running: dict[str, Rollbook]) -> None:
    """Each with its role; nobody can run an operation with the login for queries."""
    with ExitStack() as open_clients:
        commands = Service(running["client"], "commands")
        queries = QueryService(running["queries"])
        for service in (commands, queries):
            open_clients.enter_context(closing(service.http))
        created = commands.http.post("/users", json=JANE)
        assert created.status_code == 201, created.text
        user_id = created.json()["user_id"]
        eventually(lambda: queries.http.get(f"/users/{user_id}").status_code == 200)
        refused = queries.http.post("/read-models/postgres/versions")
        assert refused.status_code in {403, 404, 405}, refused.text


def test_a_command_of_another_role_ends_with_exit_code_2(deployed: dict[str, Rollbook]) -> None:
    """And names what is missing: it is no outage."""
    for role, command, code in (
        ("client", ("topics", "ensure"), "kafka_forbidden"),
        ("client", LIST, "postgres_forbidden"),
        ("client", SEARCH, "elasticsearch_forbidden"),
        ("client", ("events", "tail", "--no-follow"), "kafka_forbidden"),
        ("queries", CREATE, "kafka_forbidden"),
        ("queries", ("projector", "rebuild", "postgres"), "kafka_forbidden"),
        ("projector-history", LIST, "postgres_forbidden"),
        ("handler", CREATE, "kafka_forbidden"),
    ):
        done = deployed[role].run(*command, "--json")
        assert done.returncode == 2, (role, command, done.stderr)
        error = json.loads(done.stderr.splitlines()[-1])["error"]
        assert error["code"] == code, (role, command, error)


def test_a_wrong_password_or_authority_is_named(
    deployed: dict[str, Rollbook], tmp_path: Path
) -> None:
    """By each server itself, not by a relay or proxy in front of it."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    url = deployed["queries"].settings.postgres_url.partition("sslrootcert=")[0]
    for role, command, code, password, (setting, authority) in (
        ("client", CREATE, "kafka", "KAFKA_SASL_PASSWORD", ("KAFKA_SSL_CA_LOCATION", other)),
        ("client", CREATE, "registry", "REGISTRY_PASSWORD", ("REGISTRY_CA_LOCATION", other)),
        (
            "queries",
            LIST,
            "postgres",
            "POSTGRES_PASSWORD",
            ("POSTGRES_URL", url + f"sslrootcert={other}"),
        ),
        (
            "queries",
            SEARCH,
            "elasticsearch",
            "ELASTICSEARCH_PASSWORD",
            ("ELASTICSEARCH_CA_LOCATION", other),
        ),
    ):
        rollbook = deployed[role]
        for override, expected in (
            ({password: "wrong"}, f"{code}_forbidden"),
            ({setting: str(authority)}, "certificate_untrusted"),
        ):
            changed = {f"ROLLBOOK_{name}": value for name, value in override.items()}
            rollbook.overrides |= changed
            error = rollbook.json(*command, code=2)["error"]
            assert error["code"] == expected, (command, error)
            for name in changed:
                del rollbook.overrides[name]


def _options(user: dict[str, object]) -> list[str]:
    return [word for name, value in user.items() for word in (f"--{name}", str(value))]
