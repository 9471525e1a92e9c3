"""What a person does in the console, in a browser: users, the log, read models and dead letters."""

import pytest

from runtime.settings import Settings
from tests.integration.console.browser import CHROMEDRIVER, CHROMIUM, Browser
from tests.integration.projectors.dead_letters.letter_desk import (
    ACCEPT,
    REFUSE,
    age_of,
    letters,
    run_sql,
)
from tests.started.processes import Rollbook, RunningProcess, eventually

if not (CHROMIUM and CHROMEDRIVER):
    # For the whole file at once, so that the tests say it in one line.
    pytest.skip(
        "the console was not tested in a browser: install chromium and chromium-driver",
        allow_module_level=True,
    )

HTML = "Jane <img src=x onerror=alert(1)> Döe"


def create(browser: Browser, email: str, name: str, age: str) -> None:
    browser.open("/users/new")
    for field, text in (("email", email), ("name", name), ("age", age)):
        browser.type(f"#{field}", text)
    browser.click("main button", "Create")


def test_a_user_is_created_found_changed_and_seen_through_time(browser: Browser) -> None:
    """All the pages about users; the log shows each event without being loaded again."""
    log_page = browser.driver.current_window_handle
    browser.find("#stream-state", "receiving")
    browser.driver.switch_to.new_window("tab")

    create(browser, "jane@example.com", HTML, "34")
    browser.find("h1", HTML)
    create(browser, "JANE@example.com", "Other", "200")
    refused = browser.find("#age[aria-invalid]")
    assert "150" in browser.find("#age-refusal").text
    assert refused.get_attribute("aria-describedby") == "age-refusal"
    browser.type("#age", "40")
    browser.click("main button", "Create")
    browser.click("#email-refusal a", "Show that user")

    browser.find("h1", HTML)
    browser.type("#name", "Jane Roe")
    browser.click("main button", "Save")
    browser.find("h1", "Jane Roe")
    browser.find(".tag", "version 2")
    browser.find(".timeline del", HTML)
    browser.find(".timeline li:first-child strong", "UserUpdated")
    browser.find(".timeline li:first-child p strong", "anna")
    slide = (
        "arguments[0].value = 1; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    )
    browser.driver.execute_script(slide, browser.find("#at-version"))
    browser.find("#then", "Version 1")
    assert HTML in browser.find("#then").text

    browser.open("/users")
    browser.type("#q", "jnae reo")
    assert browser.find("#found td mark").text in ("Jane", "Roe")
    browser.eventually(
        lambda: "q=jnae+reo" in browser.driver.current_url, "the search in the address"
    )

    browser.click("nav a", "Figures")
    browser.find("figure[aria-label^='Users created']:not([aria-label$=': 0 together'])")

    browser.driver.switch_to.window(log_page)
    browser.find("tbody tr", "UserCreated")
    browser.find("tbody tr:first-child", "UserUpdated")


def test_the_log_is_paused_and_continues_where_it_was(browser: Browser) -> None:
    browser.find("#stream-state", "receiving")
    browser.click("#pause", "Pause")
    browser.find("#stream-state", "paused")
    log_page = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    create(browser, "a@example.com", "A", "3")
    browser.find("h1", "A")
    browser.driver.switch_to.window(log_page)
    assert browser.driver.find_elements("css selector", "tbody tr") == []
    browser.click("#pause", "Resume")
    browser.find("tbody tr", "UserCreated")
    browser.open("/log?from=beginning&type=UserUpdated")
    browser.find("#stream-state", "receiving")
    browser.open("/log?from=1h")
    browser.find("tbody tr", "UserCreated")


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
