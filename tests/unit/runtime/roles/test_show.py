"""`rollbook acl show`: every permission is in the text for the server's tool, and none more."""

import json
import re
import subprocess

import pytest
import yaml

from runtime.roles.show import RECORDS, TEXTS
from runtime.roles.table import CLIENT, OPERATOR, roles
from runtime.settings import Settings

SETTINGS = Settings(prefix="acme")
ALL = list(roles(SETTINGS))


def text(server: str, names: list[str]) -> str:
    return "\n".join(TEXTS[server](SETTINGS, names))


def test_the_script_for_kafka_is_one_that_a_shell_accepts() -> None:
    script = text("kafka", ALL)
    subprocess.run(["bash", "-n"], input=script.encode(), check=True)
    assert script.count("--operation ") == len(list(RECORDS["kafka"](SETTINGS, ALL)))


def test_the_sql_has_the_statements_of_the_roles_that_are_asked_for() -> None:
    projector = "projector-postgres"
    whole, part = text("postgres", ALL), text("postgres", [projector])
    for role in (OPERATOR, projector):
        for one in RECORDS["postgres"](SETTINGS, [role]):
            assert one["statement"] in whole
            assert (one["statement"] in part) == (role == projector)
    assert re.findall(r"^\\password (.*)$", part, re.MULTILINE) == ['"acme-projector-postgres"']


def test_a_role_without_access_to_a_server_has_nothing_there() -> None:
    assert [*RECORDS["postgres"](SETTINGS, [CLIENT])] == []
    assert [*RECORDS["elasticsearch"](SETTINGS, [CLIENT])] == []
    assert "acme-client" not in text("postgres", [CLIENT])
    assert yaml.safe_load(text("elasticsearch", [CLIENT])) is None


def test_the_roles_of_elasticsearch_are_a_file_that_it_reads() -> None:
    found = yaml.safe_load(text("elasticsearch", [OPERATOR]))
    [record] = RECORDS["elasticsearch"](SETTINGS, [OPERATOR])
    assert found == {"acme-operator": record["body"]}


@pytest.mark.parametrize("server", RECORDS)
def test_records_are_json_and_have_no_password(server: str) -> None:
    for one in RECORDS[server](SETTINGS, ALL):
        assert "password" not in json.dumps({"server": server, **one}).lower()
