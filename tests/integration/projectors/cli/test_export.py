"""Exports: the round trip through a file, one snapshot, and no partial files."""

import json
import os
import signal
import stat
import subprocess
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from projectors.postgres.store.database import Database
from projectors.postgres.users.export import UserExport
from projectors.postgres.users.writer import postgres_versions
from runtime.settings import Settings
from schemas.fields.rules import clean_email
from schemas.identity import email_key
from schemas.records import USER_ERASED, UserEvent
from scripts.bench.workload.event_log import events
from scripts.bench.workload.stores import remove_read_models
from scripts.people import people
from tests.observed.read_models import OpenVersion
from tests.started.processes import ROLLBOOK, Rollbook, RunningProcess, eventually
from tests.started.roles import SECURE

USERS = 2_500  # more than one step of the cursor


def write(settings: Settings, *applied: UserEvent) -> None:
    """Apply events to the read model, which is created if missing."""
    with OpenVersion(postgres_versions(settings)) as held:
        held.write(*applied)


@pytest.fixture
def read_model(settings: Settings) -> Settings:
    """A read model of users with names in many scripts, without a log."""
    made = list(events(USERS))
    for event, (email, name, age) in zip(made, people(1_000), strict=False):
        assert event["user"] is not None
        stored = clean_email(email)
        event["user"] |= {"email": stored, "email_key": email_key(stored), "name": name, "age": age}
    write(settings, *made)
    return settings


def users(text: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def contents(text: str) -> set[tuple[str, str, int]]:
    return {(user["email"], user["name"], user["age"]) for user in users(text)}


def test_a_user_who_is_erased_during_an_export_is_left_out(
    read_model: Settings,
) -> None:
    """Up to the moment when the user's line is passed on."""
    with UserExport(read_model) as export, closing(export.lines()) as lines:
        first = next(lines)
        last = list(events(USERS))[-1]
        erased: UserEvent = {**last, "version": 2, "user": None, "type": USER_ERASED}
        write(read_model, erased)
        rest = b"".join(lines)
    assert last["user_id"].encode() not in first + rest
    assert export.exported == USERS - 1 == len(users(first + rest))


@pytest.mark.skipif(SECURE, reason="it removes the schema that the roles were granted")
def test_an_export_imported_into_an_empty_registry_exports_the_same(
    read_model: Settings, rollbook: Rollbook, handler: RunningProcess, tmp_path: Path
) -> None:
    """E-mail, name and age to the last character, through gzip; ids and versions are new."""
    file = tmp_path / "people.ndjson.gz"
    before = rollbook.run("users", "export", "-").stdout
    totals = rollbook.json("users", "export", str(file))
    assert (totals["users"], totals["bytes"]) == (USERS, file.stat().st_size)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    remove_read_models(read_model)
    checked = rollbook.json("users", "import", str(file), "--dry-run")
    assert (checked["importable"], checked["rejected"]) == (USERS, 0)
    assert rollbook.json("users", "import", str(file))["created"] == USERS
    rollbook.start_projector("postgres")

    def exported() -> str:
        text = rollbook.run("users", "export").stdout
        return text if len(text.splitlines()) == USERS else ""

    after = eventually(exported, what="all are projected")
    assert contents(after) == contents(before)
    assert len(contents(after)) == USERS
    rollbook.stop_all()


def test_an_export_is_one_consistent_snapshot(read_model: Settings) -> None:
    """Changes made while it runs do not wait for it and are not exported, but who is gone is."""
    with closing(UserExport(read_model)) as export, closing(export.lines()) as chunks:
        first = next(chunks)
        assert export.total() == USERS > len(users(first))
        changed = [event | {"version": 2} for event in events(USERS)]
        for event in changed[::2]:
            event["user"] = None
        gone = {event["user_id"] for event in changed[::2]}
        gone -= {user["user_id"] for user in users(first)}
        write(read_model, *changed, *list(events(USERS + 10))[USERS:])
        seen = users(b"".join(chain([first], chunks)))
    assert len(seen) == export.exported == USERS - len(gone)
    assert gone.isdisjoint(user["user_id"] for user in seen)
    assert {user["version"] for user in seen} == {1}
    ids = [user["user_id"] for user in seen]
    assert ids == sorted(set(ids))
    with closing(UserExport(read_model)) as export:
        assert sum(len(users(chunk)) for chunk in export.lines()) == USERS // 2 + 10


def test_an_export_can_be_limited_to_an_age_range(read_model: Settings, rollbook: Rollbook) -> None:
    """It has the same users as `users list`, field by field; both ages are included."""
    ages = ("--min-age", "20", "--max-age", "29")
    exported = users(rollbook.run("users", "export", *ages, "--json").stdout)
    listed = users(rollbook.run("users", "list", *ages, "--all", "--json").stdout)
    names = list(exported[0])
    as_listed = [{name: user[name] for name in names} for user in listed]
    assert exported == sorted(as_listed, key=lambda user: str(user["user_id"]))
    assert {20, 29} <= {user["age"] for user in exported}


def test_an_interrupted_export_leaves_no_file(
    read_model: Settings, rollbook: Rollbook, tmp_path: Path
) -> None:
    """Exit 130; no partial file with personal data is left."""
    folder = tmp_path / "exports"
    folder.mkdir()
    database = Database(read_model, version=1)
    with closing(database), database.session() as connection, connection.transaction():
        connection.execute(database.statement("LOCK TABLE {schema}.users"))
        exporting = rollbook.start("users", "export", "--gzip", str(folder / "people"))
        eventually(lambda: list(folder.iterdir()), what="it has begun a file")
        os.kill(exporting.pid, signal.SIGTERM)
        assert exporting.wait() == 130, exporting.text()
    assert list(folder.iterdir()) == []


def test_a_closed_pipe_is_reported_in_one_sentence(
    read_model: Settings, rollbook: Rollbook
) -> None:
    """Exit 1: not all users were written."""
    process = subprocess.Popen(
        [ROLLBOOK, "users", "export"],
        env=rollbook.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.decode().splitlines()[0].endswith("closed the pipe before its end")
    assert b"Traceback" not in said
