"""The whole path through the commands: to the log, to every read model, and back."""

import json
from pathlib import Path
from typing import Any

import pytest

from projectors.catalog import OURS
from projectors.versions.status import CAUGHT_UP
from runtime.settings import Settings
from runtime.topics.drift import DriftWatch
from schemas.errors import Misconfigured
from schemas.fields.rules import age_group
from schemas.identity import partition_of, user_shard
from schemas.records import USER_CREATED, USER_UPDATED
from schemas.topics import EVENTS, TOPICS
from scripts.people import people, write_people
from scripts.verify.checks.stores import digest
from scripts.verify.stores import MODELS, read_users, stored_models
from tests.observed.catch_up import wait_caught_up
from tests.observed.log import alter_topics
from tests.started.processes import Rollbook, RunningProcess, eventually

PEOPLE = 2_000
OUTCOME = ["command_id", "status", "user_id", "version", "code", "message", "token"]


@pytest.fixture
def imported(rollbook: Rollbook, handler: RunningProcess, tmp_path: Path) -> list[dict[str, Any]]:
    """Two thousand people of many scripts on the log, as they are in the file."""
    write_people(tmp_path / "people.csv", PEOPLE)
    totals = rollbook.json("users", "import", str(tmp_path / "people.csv"))
    assert (totals["created"], totals["undecided"]) == (PEOPLE, 0)
    return [{"email": email, "name": name, "age": age} for email, name, age in people(PEOPLE)]


def digests(settings: Settings) -> dict[str, str]:
    """Return a digest of the users in each store."""
    live = [one for one in stored_models(settings, MODELS) if one.live]
    return {one.name: digest(read_users(settings, one).held) for one in live}


def only(users: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the fields that a file of people has, sorted by address."""
    kept = [{name: user[name] for name in ("email", "name", "age")} for user in users]
    return sorted(kept, key=lambda user: str(user["email"]))


def test_one_user_is_the_same_in_every_query(
    rollbook: Rollbook,
    settings: Settings,
    handler: RunningProcess,
    projectors: dict[str, RunningProcess],
) -> None:
    """After a creation, a rejection and an update, all commands agree."""
    jane = {"email": "jane@example.com", "name": "Jane Doe", "age": 34}
    made = rollbook.json("users", "create", "-", stdin=json.dumps(jane))
    assert list(made) == OUTCOME
    assert (made["status"], made["version"], made["code"]) == ("accepted", 1, None)
    user_id = made["user_id"]
    home = partition_of(user_shard(user_id), settings.partitions)
    assert made["token"] == f"{home}:1"
    again = ("--email", "JANE@example.com", "--name", "Other", "--age", "3")
    taken = rollbook.json("users", "create", *again, code=3)
    assert list(taken) == OUTCOME
    assert (taken["code"], taken["user_id"]) == ("user_already_exists", user_id)
    name = ("--name", "Jane Döring", "--expected-version", "1")
    changed = rollbook.json("users", "update", user_id, *name)
    assert (changed["version"], changed["token"]) == (2, f"{home}:2")

    wait_caught_up(settings)
    shown = rollbook.json("users", "get", user_id)
    assert only([shown]) == [jane | {"name": "Jane Döring"}]
    assert (shown["user_id"], shown["age_group"], shown["version"]) == (user_id, "adult", 2)
    [listed] = rollbook.ndjson("users", "list", "--min-age", "34", "--max-age", "34")
    assert listed == shown | {"cursor": listed["cursor"]}
    assert rollbook.ndjson("users", "list", "--min-age", "35") == []
    assert rollbook.json("users", "summary") == {
        "total_users": 1,
        "average_age": 34.0,
        "users_by_age_group": {"teen": 0, "adult": 1, "senior": 0},
        "last_updated": shown["updated_at"],
    }
    [found] = eventually(lambda: rollbook.ndjson("users", "search", "jnae", "dorin"))
    assert found.items() >= {k: v for k, v in shown.items() if not k.endswith("_at")}.items()

    events = rollbook.ndjson("events", "tail", "--from", "beginning", "--no-follow")
    assert [(event["type"], event["seq"]) for event in events] == [
        (USER_CREATED, 1),
        (USER_UPDATED, 2),
    ]
    assert {event["partition"] for event in events} == {home}
    change = {"field": "name", "before": "Jane Doe", "after": "Jane Döring"}
    assert events[1]["changes"] == [change]
    for outcome, code in ((made, 0), (taken, 3), (changed, 0)):
        assert rollbook.json("commands", "show", outcome["command_id"], code=code) == outcome
    assert {check["holds"] for check in rollbook.ndjson("verify")} == {True}


def test_every_imported_user_is_listed_counted_and_found(
    rollbook: Rollbook,
    settings: Settings,
    imported: list[dict[str, Any]],
    projectors: dict[str, RunningProcess],
) -> None:
    """Pages cover all, the summary is exact; typos, prefixes and lost accents match."""
    wait_caught_up(settings)
    listed: list[dict[str, Any]] = []
    page = rollbook.ndjson("users", "list", "--limit", "700")
    while page:
        listed += page
        page = rollbook.ndjson("users", "list", "--limit", "700", "--cursor", page[-1]["cursor"])
    assert only(listed) == only(imported)
    assert [one["age"] for one in listed] == sorted(one["age"] for one in imported)
    assert listed == rollbook.ndjson("users", "list", "--all")
    adults = rollbook.ndjson("users", "list", "--min-age", "20", "--max-age", "64", "--all")
    assert adults == [one for one in listed if 20 <= one["age"] <= 64]

    ages = [one["age"] for one in imported]
    summary = rollbook.json("users", "summary")
    assert summary["total_users"] == PEOPLE
    assert summary["average_age"] == pytest.approx(sum(ages) / PEOPLE)
    for group, count in summary["users_by_age_group"].items():
        assert count == sum(age_group(age) == group for age in ages)

    rollbook.json(
        "users", "create", "-", stdin='{"email": "q@example.com", "name": "Łucja Señor", "age": 9}'
    )
    wait_caught_up(settings)
    for text in ("Łucja Señor", "lucja senor", "LUCAJ senor", "señor luc"):
        found = eventually(lambda text=text: rollbook.ndjson("users", "search", text))  # type: ignore[misc]
        assert found[0]["email"] == "q@example.com", text
    other = next(one for one in imported if not one["name"].replace(" ", "").isascii())
    found = eventually(lambda: rollbook.ndjson("users", "search", other["email"]))
    assert found[0]["name"] == other["name"]


def test_projectors_stop_start_and_share_without_losing_or_doubling(
    rollbook: Rollbook,
    settings: Settings,
    imported: list[dict[str, Any]],
    projectors: dict[str, RunningProcess],
    tmp_path: Path,
) -> None:
    """A stopped one shows its lag; restarted, alone or as two, it catches up."""
    wait_caught_up(settings)
    rest = rollbook.ndjson("projector", "status", "--partitions")
    assert list(rest[0]) == [
        *(
            "read_model",
            "version",
            "live",
            "partition",
            "state",
            "position",
            "end",
            "lag",
            "applied_at",
        ),
    ]
    assert len(rest) == len(OURS) * settings.partitions
    assert {(one["state"], one["lag"]) for one in rest} == {(CAUGHT_UP, 0)}
    for process in projectors.values():
        assert process.stop() == 0
    more = "".join(f"more{n}@example.com,Møre {n},{n % 100}\n" for n in range(500))
    totals = rollbook.json("users", "import", "-", stdin=f"email,name,age\n{more}")
    assert totals["created"] == 500
    for name in OURS:
        behind = [s for s in rollbook.ndjson("projector", "status") if s["read_model"] == name]
        assert [(one["lag"], one["state"]) for one in behind] == [(500, "behind")]
        pair = [rollbook.start_projector(name) for _ in range(2)]
        eventually(lambda pair=pair: shares(pair) == [2, 2], what="two partitions each")  # type: ignore[misc]
        wait_caught_up(settings, name)
    half = "".join(f"half{n}@example.com,Half {n},{n % 100}\n" for n in range(500))
    rollbook.json("users", "import", "-", stdin=f"email,name,age\n{half}")
    wait_caught_up(settings)
    assert rollbook.json("users", "summary")["total_users"] == PEOPLE + 1_000
    assert len(set(digests(settings).values())) == 1
    done = rollbook.run("verify")
    assert done.returncode == 0, done.stdout


def shares(processes: list[RunningProcess]) -> list[int]:
    """Return how many partitions each projector owns, according to its log."""
    counts = []
    for process in processes:
        held: set[int] = set()
        for line in process.text().splitlines():
            _, assigned, numbers = line.partition("assigned: partitions ")
            if assigned:
                held |= _listed(numbers)
            _, revoked, numbers = line.partition("revoked: partitions ")
            if revoked:
                held -= _listed(numbers)
        counts.append(len(held))
    return counts


def _listed(text: str) -> set[int]:
    """Return the partitions in a message such as `[0, 1]`, which fields follow."""
    return set(json.loads(text.partition("]")[0] + "]"))


def test_topics_are_ensured_and_drift_is_reported(rollbook: Rollbook, settings: Settings) -> None:
    """Ensuring again creates nothing; an altered setting is named and left unchanged."""
    wanted = [
        {
            "topic": settings.named(topic.name),
            "partitions": 1 if topic.one_partition else settings.partitions,
            "created": False,
            "drift": {},
        }
        for topic in TOPICS
    ]
    assert rollbook.ndjson("topics", "ensure") == rollbook.ndjson("topics", "ensure") == wanted
    name = settings.named(EVENTS.name)
    alter_topics(settings, [EVENTS], cleanup_policy="delete")

    found = rollbook.ndjson("topics", "ensure", code=1)
    assert {one["topic"]: one["drift"] for one in found if one["drift"]} == {
        name: {"cleanup.policy": {"wanted": "compact", "found": "delete"}}
    }
    told = rollbook.run("topics", "ensure")
    assert told.returncode == 1
    assert f"drift: {name} has cleanup.policy=delete" in told.stderr
    fix = f"--entity-name {name} --add-config cleanup.policy=compact"
    assert fix in told.stderr
    refused = rollbook.run("handler", "run", "--instance", "a")
    assert refused.returncode == 2
    assert fix in refused.stderr
    [unkept] = [one for one in rollbook.ndjson("verify", "--log-only", code=1) if not one["holds"]]
    assert unkept["examples"] == [f"topic {name} has cleanup.policy=delete, it must be compact"]


def test_a_running_handler_stops_at_drift_that_loses_records(settings: Settings) -> None:
    """Other drift is reported once."""
    watch = DriftWatch(settings)
    alter_topics(settings, [EVENTS], segment_ms="1000000")
    watch()
    assert [name for name, _ in watch._reported] == [settings.named(EVENTS.name)]
    alter_topics(settings, [EVENTS], cleanup_policy="compact,delete")
    watch()  # at most once a minute
    watch._due = 0.0
    with pytest.raises(Misconfigured, match="loses records"):
        watch()
