"""A query with a token sees the write, in every store, whatever happens meanwhile."""

import json
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from producers.client.command_client import CommandClient
from projectors.catalog import OURS, open_versions
from projectors.elasticsearch.search.queries import UserSearch
from projectors.history.queries import EventStore
from projectors.postgres.users.queries import UserQueries
from projectors.versions.rebuild import Rebuild
from projectors.versions.swap import swap
from projectors.versions.visibility import Visibility
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import Rejected
from scripts.people import write_people
from tests.depth import depth
from tests.started.processes import Rollbook, RunningProcess

JANE = ("--email", "jane@example.com", "--name", "Jane Doe", "--age", "34")
EMAIL = "jane@example.com"
PATIENCE_SECONDS = 60.0
ROUNDS = depth(10, 40)
LOAD = depth(5_000, 20_000)
SWAPS = depth(2, 4)

pytestmark = pytest.mark.usefixtures("handler")


class Asker:
    """Keeps a connection to every store."""

    def __init__(self, settings: Settings, user_id: str, opened: ExitStack) -> None:
        self._queries = opened.enter_context(closing(UserQueries(settings)))
        self._events = opened.enter_context(closing(EventStore(settings)))
        self._search = opened.enter_context(closing(UserSearch(settings)))
        self._user_id = user_id
        self.version_in: dict[str, Callable[[], int]] = {
            "postgres": lambda: self._queries.get_user(user_id).version,
            "history": lambda: self._events.get_events(user_id)[-1]["version"],
            "elasticsearch": lambda: int(self._search.search_users(EMAIL)[0]["version"]),
        }

    def assert_absent(self) -> None:
        """Fail if a store of users has the user."""
        with pytest.raises(Rejected):
            self._queries.get_user(self._user_id)
        found = self._search.search_users(EMAIL)
        assert self._user_id not in [user["user_id"] for user in found]


def test_every_writer_reads_its_own_writes_under_load(
    settings: Settings,
    rollbook: Rollbook,
    projectors: dict[str, RunningProcess],
    tmp_path: Path,
) -> None:
    """Queried right after each wait, no store lacks a change, while thousands are added."""
    write_people(tmp_path / "people.csv", LOAD)
    load = rollbook.start("users", "import", "--json", str(tmp_path / "people.csv"))
    with ExitStack() as opened:
        client = opened.enter_context(CommandClient(settings, timeout_seconds=PATIENCE_SECONDS))
        waiting = {name: opened.enter_context(Visibility(settings, [name])) for name in OURS}
        user_id = client.create_user(EMAIL, "Jane Doe", 34).user_id
        assert user_id is not None
        asker = Asker(settings, user_id, opened)
        for number in range(ROUNDS):
            for name, visibility in waiting.items():
                answer = client.update_user(user_id, age=number % 150, name=f"Jane {name}")
                assert answer.token is not None
                visibility.wait(answer.token, PATIENCE_SECONDS)
                assert asker.version_in[name]() == answer.version
        answer = client.delete_user(user_id)
        everywhere = opened.enter_context(Visibility(settings, OURS))
        assert answer.token is not None
        everywhere.wait(answer.token, PATIENCE_SECONDS)
        asker.assert_absent()
        assert asker.version_in["history"]() == answer.version
        answer = client.erase_user(user_id)
        assert answer.token is not None
        everywhere.wait(answer.token, PATIENCE_SECONDS)
        assert asker.version_in["history"]() == answer.version
    assert load.wait(PATIENCE_SECONDS) == 0


class Swapper:
    """Alternately makes one of two versions live."""

    def __init__(self, settings: Settings, name: str, numbers: tuple[int, int]) -> None:
        self.swaps = 0
        self.wrong: list[BaseException] = []
        self._settings = settings
        self._name = name
        self._numbers = numbers
        self._thread = threading.Thread(target=self._swap)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Return whether all swaps are done, or one failed."""
        return not self._thread.is_alive()

    def _swap(self) -> None:
        try:
            with closing(open_versions(self._settings, self._name)) as versions:
                for _ in range(SWAPS):
                    swap(self._settings, versions, self._numbers[self.swaps % 2])
                    self.swaps += 1
        except Exception as error:  # noqa: BLE001 - reported by the test's thread
            self.wrong.append(error)

    def join(self) -> None:
        """Wait for the end; fail if a swap failed."""
        self._thread.join()
        assert (self.wrong, self.swaps) == ([], SWAPS)


def test_a_token_is_honoured_across_swaps(
    settings: Settings, rollbook: Rollbook, projectors: dict[str, RunningProcess]
) -> None:
    """Taken before a rebuild or during a swap: the write is visible on either version."""
    with ExitStack() as opened:
        client = opened.enter_context(CommandClient(settings, timeout_seconds=PATIENCE_SECONDS))
        first = client.create_user(EMAIL, "Jane Doe", 34)
        assert first.user_id is not None
        assert first.token is not None
        asker = Asker(settings, first.user_id, opened)
        for name in OURS:
            visibility = opened.enter_context(Visibility(settings, [name]))
            visibility.wait(first.token, PATIENCE_SECONDS)
            with closing(open_versions(settings, name)) as versions:
                built = Rebuild(settings, versions, StopSignal()).run()
            assert built is not None
            swapper = Swapper(settings, name, (built.version, 1))
            rounds = 0
            while not swapper.ended or rounds < ROUNDS:
                rounds += 1
                visibility.wait(first.token, PATIENCE_SECONDS)
                answer = client.update_user(first.user_id, age=rounds % 150)
                assert answer.token is not None
                visibility.wait(answer.token, PATIENCE_SECONDS)
                assert asker.version_in[name]() == answer.version
            swapper.join()


def test_a_wait_survives_a_frozen_or_killed_projector(
    settings: Settings, rollbook: Rollbook, projectors: dict[str, RunningProcess]
) -> None:
    """Frozen: the wait ends at its timeout. Killed and restarted: the write becomes visible."""
    made = rollbook.json("users", "create", *JANE, "--wait", ",".join(OURS))
    queries = {
        "postgres": (("get", made["user_id"]), ("list",), ("summary",), ("export",)),
        "history": (("get", made["user_id"], "--at-version", "1"), ("history", made["user_id"])),
        "elasticsearch": (("search", "doring"), ("suggest", "jo")),
    }
    for projector in projectors.values():
        projector.freeze()
    update = ("users", "update", made["user_id"], "--name", "Joan Döring")
    token = rollbook.json(*update)["token"]
    asked = [("users", *line) for lines in queries.values() for line in lines]
    for name, lines in queries.items():
        for line in lines:
            late = rollbook.json("users", *line, "--after", token, "--timeout", "0.2", code=4)[
                "error"
            ]
            assert late["code"] == "not_visible_in_time"
            assert late["message"].startswith(f"{name} has not reached {token} within 0.2 s")
    for name, projector in projectors.items():
        projector.kill()
        rollbook.start_projector(name)
    for line in asked:
        done = rollbook.run(*line, "--after", token, "--timeout", "60", "--json")
        assert done.returncode == 0, done.stderr
        if not {"summary", "--at-version"} & set(line):
            assert "Joan Döring" in done.stdout, line


def test_a_command_that_waits_prints_its_answer_whatever_happens_to_the_wait(
    rollbook: Rollbook, projectors: dict[str, RunningProcess]
) -> None:
    """The answer is always on stdout; exit 0 once visible, 4 if not in time or not available."""
    made = rollbook.json("users", "create", *JANE, "--wait", "postgres, elasticsearch,postgres")
    shown = rollbook.json("users", "get", made["user_id"])
    assert shown["version"] == 1
    projectors["postgres"].stop()
    update = ("users", "update", made["user_id"], "--age")
    late = rollbook.run(*update, "35", "--wait", "postgres", "--timeout", "3", "--json")
    assert_accepted_but_not_visible(late, "not_visible_in_time", 2)

    # Nothing changed: its token is that of the previous change, which is not visible yet either.
    late = rollbook.run(*update, "35", "--wait", "postgres", "--timeout", "2", "--json")
    assert_accepted_but_not_visible(late, "not_visible_in_time", 2)
    rollbook.json(*update, "35", "--wait", "history,elasticsearch")

    # A rejected command is not waited for.
    refused = rollbook.run("users", "create", *JANE, "--wait", "postgres", "--timeout", "60")
    assert (refused.returncode, "user_already_exists" in refused.stdout) == (3, True)

    rollbook.overrides["ROLLBOOK_POSTGRES_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    away = rollbook.run(*update, "36", "--wait", "postgres", "--json")
    assert_accepted_but_not_visible(away, "postgres_unavailable", 3)
    del rollbook.overrides["ROLLBOOK_POSTGRES_URL"]

    unknown = rollbook.json(*update, "37", "--wait", "postgres,mongodb", code=2)["error"]
    assert (unknown["code"], "mongodb" in unknown["message"]) == ("unknown_read_model", True)
    rollbook.start_projector("postgres")
    gone = ("delete", made["user_id"]), ("erase", made["user_id"], "--yes")
    moved = ("change-email", made["user_id"], "--email", "joan@example.com")
    for line, version in ((moved, 4), *zip(gone, (5, 6), strict=True)):
        answer = rollbook.json("users", *line, "--wait", ",".join(OURS))
        assert answer["version"] == version
    assert rollbook.json("users", "get", made["user_id"], code=3)["error"]["code"]


def assert_accepted_but_not_visible(
    done: subprocess.CompletedProcess[str], code: str, version: int
) -> None:
    """Require an answer on stdout and, on stderr, why the change was not visible."""
    assert done.returncode == 4, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    assert (outcome["status"], outcome["version"]) == ("accepted", version)
    error = json.loads(done.stderr)["error"]
    assert error["code"] == code
    assert error["message"].startswith("accepted, but not yet visible: ")


def test_an_import_waits_for_all_its_users_and_has_a_token(
    settings: Settings,
    rollbook: Rollbook,
    projectors: dict[str, RunningProcess],
    tmp_path: Path,
) -> None:
    """All users are counted and found right after; a repeated import has the same token."""
    write_people(tmp_path / "people.csv", 2_000)
    line = ("users", "import", str(tmp_path / "people.csv"))
    totals = rollbook.json(*line, "--wait", ",".join(OURS))
    assert rollbook.json("users", "summary")["total_users"] == totals["created"] == 2_000
    assert len(totals["token"].split(",")) == settings.partitions
    again = rollbook.json(*line)
    assert (again["already_there"], again["token"]) == (2_000, totals["token"])
    for projector in projectors.values():
        projector.freeze()
    write_people(tmp_path / "more.csv", 2_100)
    line = ("users", "import", str(tmp_path / "more.csv"))
    late = rollbook.run(*line, "--wait", "elasticsearch", "--timeout", "2", "--json")
    assert (late.returncode, json.loads(late.stdout)["created"]) == (4, 100)
    assert json.loads(late.stderr)["error"]["code"] == "not_visible_in_time"
