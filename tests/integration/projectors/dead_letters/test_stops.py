"""Dead letters and interruptions: the limit, a rebuild, an unavailable store or broker."""

from projectors.dead_letters.reader import read_letters
from runtime.settings import Settings
from tests.integration.foreign import SECRET, ForeignWriter, forged
from tests.integration.projectors.dead_letters.letter_desk import (
    ACCEPT,
    REFUSE,
    age_of,
    forge_letter,
    held_up_at,
    letters,
    lines,
    results,
    run_sql,
    running_writer,
)
from tests.observed.catch_up import wait_caught_up
from tests.started.processes import Rollbook, RunningProcess, eventually


def test_a_discarded_letter_stays_discarded_when_the_read_model_is_rebuilt(
    settings: Settings, rollbook: Rollbook, projector: RunningProcess
) -> None:
    """The new version reads the record again, writes the same letter, and becomes ready."""
    foreign_writer = ForeignWriter(settings)
    event, home = forged(settings, "nul", name=f"{SECRET}\0")
    foreign_writer.put_event(event, home)
    event, home = forged(settings, "good")
    foreign_writer.put_event(event, home)
    eventually(lambda: letters(settings), what="a letter")
    eventually(lambda: age_of(settings, event["user_id"]), what="its neighbour")
    assert rollbook.run("dead-letters", "discard", "--all", "--yes").returncode == 0
    done = rollbook.run("projector", "rebuild", "postgres")
    assert done.returncode == 0, done.stderr
    [letter] = read_letters(settings).letters
    assert letter.settled == "discarded"
    [one] = lines(rollbook, "retry", letter.place, code=3)
    assert one["result"] == "poisoned"


def test_a_projector_stopped_by_too_many_poisoned_records_continues_after_the_fix(
    settings: Settings, rollbook: Rollbook, projector: RunningProcess
) -> None:
    """Its error says what to do; letters that it wrote before are settled by a retry."""
    foreign_writer = running_writer(settings)
    projector.stop()
    run_sql(settings, 1, REFUSE)
    users = [forged(settings, f"refused{number}", age=41) for number in range(20)]
    for event, home in users:
        foreign_writer.put_event(event, home)
    rollbook.overrides["ROLLBOOK_DEAD_LETTERS_IN_A_ROW"] = "3"
    stopped = rollbook.start_projector("postgres")
    assert stopped.wait() == 1
    assert "more than 3 records in a row cannot be applied" in stopped.text()
    assert "rollbook dead-letters list" in stopped.text()
    before = letters(settings)
    assert len(before) <= 3 * settings.partitions
    assert set(results(rollbook, "--all", code=3)) <= {
        "not_reached",
        "poisoned",
    }
    run_sql(settings, 1, ACCEPT)
    rollbook.start_projector("postgres")
    eventually(lambda: all(age_of(settings, e["user_id"]) for e, _ in users), what="all of them")
    assert set(results(rollbook, "--all")) == {"applied"}
    assert letters(settings) == []
    assert rollbook.json("users", "summary")["total_users"] == 21


def test_letters_of_an_unavailable_store_stay_open_and_others_are_retried(
    settings: Settings, rollbook: Rollbook, projector: RunningProcess
) -> None:
    foreign_writer = ForeignWriter(settings)
    event, home = forged(settings, "jane")
    where = foreign_writer.put_event(event, home)
    eventually(lambda: age_of(settings, event["user_id"]), what="applied")
    forge_letter(settings, where, "projector:elasticsearch")
    place = forge_letter(settings, where, "projector:postgres")
    rollbook.overrides["ROLLBOOK_ELASTICSEARCH_URL"] = "http://127.0.0.1:1"
    [one] = lines(rollbook, "retry", "--all", code=5)
    assert (one["letter"], one["reader"], one["result"]) == (place, "projector:postgres", "applied")
    assert [letter.reader for letter in letters(settings)] == ["projector:elasticsearch"]
    del rollbook.overrides["ROLLBOOK_ELASTICSEARCH_URL"]
    rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    asked = (("list",), ("retry", "--all"), ("show", place), ("discard", place))
    for command in [rollbook.start("dead-letters", *words) for words in asked]:
        assert command.wait() == 5


def test_a_retry_that_is_killed_can_be_run_again(
    settings: Settings, rollbook: Rollbook, projector: RunningProcess
) -> None:
    """A letter is settled only after its event was applied; applying it twice is harmless."""
    projector.stop()
    rollbook.overrides["ROLLBOOK_DEAD_LETTERS_IN_A_ROW"] = "1000"
    rollbook.start_projector("postgres")
    foreign_writer = running_writer(settings)
    run_sql(settings, 1, REFUSE)
    users = [forged(settings, f"refused{number}", age=41) for number in range(200)]
    written = {foreign_writer.put_event(event, home): event["user_id"] for event, home in users}
    eventually(lambda: len(letters(settings)) == len(users), what="a letter for each")
    wait_caught_up(settings, "postgres")
    run_sql(settings, 1, ACCEPT)
    in_order = [written[place] for place in sorted(written)]
    with held_up_at(settings, in_order[100]) as is_held_up:
        killed = rollbook.start("dead-letters", "retry", "--all")
        eventually(is_held_up, what="the retry waits at a letter")
        killed.kill()
    still_open = {letter.place for letter in letters(settings)}
    assert len(still_open) == 100
    settled = [one for one in read_letters(settings).letters if one.place not in still_open]
    assert {one.settled for one in settled} == {"applied"}
    # What it had sent about the next letter may be applied or not.
    assert rollbook.json("users", "summary")["total_users"] in {len(settled) + 1, len(settled) + 2}
    tries = lines(rollbook, "retry", "--all")
    assert {one["letter"] for one in tries} == still_open
    assert {one["result"] for one in tries} == {"applied"}
    assert letters(settings) == []
    assert rollbook.json("users", "summary")["total_users"] == len(users) + 1
