"""The calls on docs/http.md are answered as the page says."""

import re
from dataclasses import replace
from typing import Final

from docsgen.pages import page
from tests.integration.docs.run_blocks import Project
from tests.processes import Rollbook, RunningProcess

PAGE: Final = "docs/http.md"
# The options of a service, the address on the page.
ADDRESSES: Final = (
    (("commands",), "127.0.0.1:18082"),
    (("queries", "--operations"), "127.0.0.1:18083"),
)


def test_the_calls_are_answered_as_the_page_says(project: Project, rollbook: Rollbook) -> None:
    text = page(PAGE).text
    for options, address in ADDRESSES:
        running = rollbook.start("serve", *options, "--listen", "127.0.0.1:0")
        text = text.replace(address, listening_at(running))
    project.run_page(replace(page(PAGE), text=text))


def listening_at(service: RunningProcess) -> str:
    service.wait_for("listening at")
    found = re.search(r"listening at http://(\S+)", service.text())
    assert found is not None
    return found[1]
