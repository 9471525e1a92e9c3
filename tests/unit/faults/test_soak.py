"""The criterion of a soak on made-up series, its schedule, and its picture."""

from random import Random
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.faults.nemesis.plan import TARGETS
from tests.faults.soak.picture import draw
from tests.faults.soak.report import markdown, series_rows
from tests.faults.soak.schedule import schedule
from tests.faults.soak.series import MEASURES, Series, judge

SECONDS = 600.0


def series(
    measure: str, level: float, per_minute: float, noise: float = 0.0, of: str = "handler a"
) -> Series:
    """Return a series that fills up for two minutes, and has an outlier in every third."""
    made, chance = Series(measure, of), Random(measure)
    for time in range(0, int(SECONDS), 5):
        value = level * min(1.0, 0.5 + time / 240) + per_minute * time / 60
        outlier = 3 if time % 200 == 100 else 1
        made.add(time, value * outlier + chance.uniform(-noise, noise))
    return made


@pytest.mark.parametrize("measure", [name for name, one in MEASURES.items() if not one.accumulates])
def test_a_level_with_noise_and_outliers_is_flat_and_a_leak_is_not(measure: str) -> None:
    least = MEASURES[measure].least
    assert judge(series(measure, 80, 0, noise=least / 2), SECONDS).is_flat
    assert not judge(series(measure, 20, least, noise=least / 2), SECONDS).is_flat


def test_a_step_in_the_last_third_is_not_flat() -> None:
    stepped = Series("files", "commands")
    for time in range(0, int(SECONDS), 5):
        stepped.add(time, 20 if time < 450 else 60)
    assert not judge(stepped, SECONDS).is_flat


def test_files_of_a_log_may_grow_with_its_records_but_not_faster() -> None:
    steady, faster = Series("disk", "kafka"), Series("disk", "kafka")
    for time in range(0, int(SECONDS), 10):
        steady.add(time, 100 + time)
        faster.add(time, 100 + time + max(0, time - 400) * 2)
    assert judge(steady, SECONDS).is_flat
    assert not judge(faster, SECONDS).is_flat


def test_a_process_that_was_hardly_ever_seen_is_not_flat() -> None:
    seen = Series("memory", "queries")
    for time in range(0, 300, 5):
        seen.add(time, 50)
    assert not judge(seen, SECONDS).is_flat


def test_everything_dies_once_in_the_first_third_and_only_some_of_it_later() -> None:
    for seconds in (240.0, 3600.0):
        planned = list(schedule(seconds))
        killed = {"a", "commands", "queries", "postgres projector", "elasticsearch projector"}
        killed |= {"history projector", "registry", "postgres", "elasticsearch", "kafka"}
        early = {s.target for begins, s in planned if begins < seconds / 3 and "kill" in s.fault}
        late = {s.target for begins, s in planned if begins >= seconds / 3 and "kill" in s.fault}
        assert early >= killed
        assert late <= {"b", "history projector", "rebuild"}
        assert all(step.target in TARGETS[step.fault] for _, step in planned)
        assert planned[-1][0] < seconds


def test_the_picture_shows_what_has_grown() -> None:
    made = {
        ("memory", "handler a"): series("memory", 80, 0),
        ("memory", "handler b"): series("memory", 80, 20, of="handler b"),
        ("lag", "handlers"): series("lag", 3, 0, of="handlers"),
    }
    verdicts = {place: judge(one, SECONDS) for place, one in made.items()}
    rows = list(series_rows(made, verdicts, SECONDS))
    report: dict[str, Any] = {"minutes": 10.0, "commands": 9, "faults": [[30.0, "x"]]}
    picture = draw(report | {"series": rows})
    ET.fromstring(picture)  # noqa: S314 - our own
    assert picture.count('<polyline class="flat"') == 2
    assert picture.count('<polyline class="grown"') == 1
    assert markdown(report | {"series": rows}).count("**") == 2
