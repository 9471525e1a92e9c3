"""The calls on docs/http.md are answered as the page says."""

from dataclasses import replace
from typing import Final

from docsgen.pages import page
from tests.integration.docs.run_blocks import Project
from tests.started.processes import Rollbook
from tests.started.services import Service

PAGE: Final = "docs/http.md"
# The options of a service, the address on the page.
ADDRESSES: Final = (
    (("commands",), "127.0.0.1:18082"),
    (("queries", "--operations"), "127.0.0.1:18083"),
)


def test_the_calls_are_answered_as_the_page_says(project: Project, rollbook: Rollbook) -> None:
    text = page(PAGE).text
    for options, address in ADDRESSES:
        service = Service(rollbook, *options)
        service.http.close()
        text = text.replace(address, service.url.removeprefix("http://"))
    project.run_page(replace(page(PAGE), text=text))
