"""What a person does with users, in a browser."""

from tests.integration.console.browser import Browser

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
        lambda: browser.driver.current_url.endswith("q=jnae+reo"), "the search in the address"
    )

    browser.click("nav a", "Figures")
    browser.find("figure[aria-label$=': 1 together']")

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
