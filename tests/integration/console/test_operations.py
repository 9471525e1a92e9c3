"""What a person does with read models and dead letters, in a browser."""

from runtime.settings import Settings
from tests.integration.console.browser import Browser
from tests.integration.projectors.dead_letters.letter_desk import (
    ACCEPT,
    REFUSE,
    age_of,
    letters,
    run_sql,
)
from tests.processes import Rollbook, RunningProcess, eventually


def test_a_version_is_built_and_made_live(browser: Browser, rollbook: Rollbook) -> None:
    """The page shows the lines of the job and, without being loaded again, the new version."""
    browser.open("/read-models")
    browser.click("[aria-label='rebuild postgres']")
    browser.find("pre.log", "succeeded")
    browser.click("[aria-label='swap postgres version 2']")
    browser.find("pre.log", "version 2 of postgres is live")
    browser.find("section[aria-labelledby=model-postgres] tbody tr", "2 live")
    live = [one["live"] for one in rollbook.ndjson("projector", "versions", "postgres")]
    assert live == [False, True]
    browser.click("a", "Check")
    browser.click("main button", "Check everything")
    browser.find("pre.log", "✓")
    browser.find("pre.log", "succeeded")


def test_a_dead_letter_is_seen_and_retried(
    browser: Browser,
    settings: Settings,
    rollbook: Rollbook,
    console: tuple[RunningProcess, str],
) -> None:
    """Its record is shown only on request, which the console logs."""
    ada = ("--email", "ada@example.com", "--name", "Ada Lovelace", "--age", "36")
    user_id = rollbook.json("users", "create", *ada, "--wait", "postgres")["user_id"]
    run_sql(settings, 1, REFUSE)
    rollbook.json("users", "update", user_id, "--age", "41")
    [letter] = eventually(lambda: letters(settings), what="a letter")
    run_sql(settings, 1, ACCEPT)

    browser.open("/dead-letters")
    browser.find("p a", "postgres_refused: 1")
    browser.click("td a", letter.place)
    browser.find("dd", "readable")
    assert "Ada" not in browser.driver.page_source
    browser.click("main button", "Show the record")
    browser.find("pre", "Ada Lovelace")
    assert f"looks at the record of the dead letter {letter.place}" in console[0].text()
    browser.click("main button", "Retry")
    browser.find("pre.log", "applied")
    browser.find("form", "There are none.")
    assert age_of(settings, user_id) == 41
