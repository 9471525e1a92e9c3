"""`python -m docsgen.screenshots`: pictures of the console for docs/images, from the local stack.

It starts what does not run, imports the people of the demo and changes one user, so that the
pictures show the same on every machine, except for times and ids. Needs Chromium and chromedriver.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from docsgen.pages import ROOT
from scripts.people import write_people

_PEOPLE: Final = 2_000
_ROLLBOOK: Final = Path(sys.executable).with_name("rollbook")
_WAIT_SECONDS: Final = 60
_WIDE: Final = (1200, 800)
_PHONE: Final = (390, 844)


def main() -> None:
    """Write the pictures."""
    _run("up", "--json")
    with tempfile.TemporaryDirectory() as folder:
        _run("users", "import", str(_write_people(Path(folder))), "--json")
    user_id = _changed_user()
    processes = json.loads(_run("status", "--json"))["processes"]
    port = next(one["port"] for one in processes if one["name"] == "console")
    url = f"http://127.0.0.1:{port}"
    _take("users", f"{url}/users?q=jonh", "#found mark", _WIDE)
    _take("user", f"{url}/users/{user_id}?at_version=2", "#then dl", _WIDE)
    _take("phone", f"{url}/figures", "figure", _PHONE, is_dark=True)


def _write_people(folder: Path) -> Path:
    """Write the people of the demo to a file in `folder` and return its path."""
    people = folder / "people.csv"
    write_people(people, _PEOPLE)
    return people


def _changed_user() -> str:
    """Return the id of a user with a few versions."""
    made = ("--email", "jane@example.com", "--name", "Jane Doe", "--age", "34", "--json")
    user_id: str = json.loads(_run("users", "create", *made))["user_id"]
    _run("users", "update", user_id, "--age", "35", "--json")
    _run("users", "update", user_id, "--name", "Jane Roe", "--wait", "history,postgres", "--json")
    return user_id


def _run(*arguments: str) -> str:
    """Run `rollbook …` and return what it prints; a refusal, such as of a second run, is fine."""
    done = subprocess.run([_ROLLBOOK, *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in {0, 3}:
        sys.exit(done.stderr)
    return done.stdout


def _take(
    name: str, address: str, wait_for: str, size: tuple[int, int], *, is_dark: bool = False
) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("headless", "no-sandbox", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        media = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        metrics: dict[str, Any] = {"width": size[0], "height": size[1], "mobile": False}
        # The window of a browser cannot be as narrow as a phone.
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {**metrics, "deviceScaleFactor": 1}
        )
        driver.get(address)
        found = WebDriverWait(driver, _WAIT_SECONDS)
        found.until(lambda browser: browser.find_elements(By.CSS_SELECTOR, wait_for))
        driver.save_screenshot(str(ROOT / "docs" / "images" / f"console-{name}.png"))
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
