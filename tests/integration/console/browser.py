"""A real browser: Debian's Chromium, as a person uses it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.started.processes import eventually

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")


class Browser:
    """One browser at the console's pages; elements are found once they are there."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, path: str) -> None:
        self.driver.get(self.url + path)

    def find(self, css: str, text: str = "") -> WebElement:
        """Return the first visible element that fits `css` and contains `text`."""
        found: WebElement = self.eventually(lambda: self._find(css, text), f"{css} {text!r}")
        return found

    def eventually(self, condition: Callable[[], Any], what: str) -> Any:
        """Return the first true value of `condition`; the page may change under it."""

        def tried() -> Any:
            try:
                return condition()
            except (NoSuchElementException, StaleElementReferenceException):
                return None

        try:
            return eventually(tried, 60, what)
        except AssertionError as error:
            body = self.driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(f"{error}, on {self.driver.current_url}:\n{body}") from None

    def type(self, css: str, text: str) -> None:
        field = self.find(css)
        field.clear()
        field.send_keys(text)

    def click(self, css: str, text: str = "") -> None:
        """Click the first visible element that fits, once it is on the page and stays there."""

        def clicked() -> bool:
            found = self._find(css, text)
            if found is not None:
                found.click()
            return found is not None

        self.eventually(clicked, f"{css} {text!r}")

    def messages(self) -> list[str]:
        """Return what the browser's console shows since the last call."""
        found = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in found]

    def _find(self, css: str, text: str) -> WebElement | None:
        found = self.driver.find_elements(By.CSS_SELECTOR, css)
        return next((one for one in found if one.is_displayed() and text in one.text), None)


@contextmanager
def chromium(url: str, *, width: int = 1200, height: int = 900) -> Iterator[Browser]:
    """Yield a new browser without any history."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (
        # Without a sandbox, because containers and root have none.
        *("headless", "no-sandbox", "disable-gpu", f"window-size={width},{height}"),
        # A test looks at two tabs at once. Chromium gives the timers of a hidden one so little
        # processor time that on a slow machine nothing arrives there for a minute.
        *("disable-background-timer-throttling", "disable-renderer-backgrounding"),
        "disable-backgrounding-occluded-windows",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(CHROMEDRIVER))
    try:
        yield Browser(driver, url)
    finally:
        driver.quit()
