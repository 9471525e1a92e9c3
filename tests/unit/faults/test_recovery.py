"""The table of recovery times; measuring them needs servers."""

from tests.faults.recovery.cases import CASES
from tests.faults.recovery.table import markdown


def test_the_table_has_the_median_and_the_worst_of_each_case() -> None:
    found = {
        "cases": {
            "it died": {"until": "it is back", "seconds": [3.0, 1.0, 8.04], "server_seconds": []},
            "a server": {"until": "all", "seconds": [4.0, 5.0], "server_seconds": [2.0, 3.0]},
        }
    }
    assert markdown(found).splitlines()[2:] == [
        "| it died | it is back | 3 | 3.0 | 8.0 |  |",
        "| a server | all | 2 | 4.5 | 5.0 | 2.5 |",
    ]


def test_every_kind_of_process_and_server_dies_in_a_case() -> None:
    named = " ".join(CASES)
    for kind in ("handler", "projector", "serve commands", "serve queries", "broker"):
        assert kind in named
    for server in ("PostgreSQL", "Elasticsearch", "registry"):
        assert server in named
