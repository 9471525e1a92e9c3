"""Both releases run with one configuration as long as it names no setting of the newer release."""

from dataclasses import replace

from runtime.command_line.terminal import EXIT_USAGE
from tests.started.processes import Rollbook


def test_both_releases_read_the_same_settings(rollbook: Rollbook, old: Rollbook) -> None:
    """The newer release knows every setting of the released one, and reads what was set alike."""
    before, after = (
        {one["setting"]: (one["origin"], one["value"]) for one in release.ndjson("config", "show")}
        for release in (old, rollbook)
    )
    assert before.keys() <= after.keys()
    given = {name: found for name, found in before.items() if found[0] != "default"}
    assert given == {name: after[name] for name in given}
    assert "ROLLBOOK_PREFIX" in given["prefix"][0]


def test_the_released_release_refuses_a_file_with_a_setting_it_does_not_know(
    rollbook: Rollbook, old: Rollbook
) -> None:
    """So a new setting is added to the file after the upgrade, and removed before a downgrade."""
    file = rollbook.directory / "newer.toml"
    file.write_text("clock_lead_seconds = 600.0\n", encoding="utf-8")
    assert replace(rollbook, config=file).run("config", "show").returncode == 0
    refused = replace(old, config=file).run("config", "show")
    assert refused.returncode == EXIT_USAGE
    assert "clock_lead_seconds" in refused.stderr


def test_the_released_release_ignores_a_variable_it_does_not_know(old: Rollbook) -> None:
    newer = replace(old, overrides={"ROLLBOOK_CLOCK_LEAD_SECONDS": "600.0"})
    assert newer.run("config", "show").returncode == 0
