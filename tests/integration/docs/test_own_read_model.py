"""docs/your-own-read-model.md is accurate: its code is the example's, its commands work."""

from pathlib import Path

import pytest

from docsgen.pages import ROOT, page
from runtime.settings import Settings
from tests.integration.docs.run_blocks import Project, assert_prints, plain
from tests.integration.forged_log import ForgedLog
from tests.started.processes import Rollbook, RunningProcess, eventually

PAGE = page("docs/your-own-read-model.md")
SOURCES = (
    "tests/examples/domains.py",
    "tests/examples/users_per_domain.py",
    "tests/unit/projectors/contract/test_domains.py",
)
NAMED = "domains=tests.examples.domains:DomainVersions"


@pytest.fixture
def project(rollbook: Rollbook, tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(rollbook, folder)


def test_the_commands_of_the_page_do_what_it_says(
    project: Project, handler: RunningProcess
) -> None:
    """In the page's order, with its changes of the code between them."""
    project.run_page(PAGE)


def test_the_code_of_the_page_is_the_examples() -> None:
    """Word for word; a page that drifts would teach what does not work."""
    sources = [(ROOT / name).read_text(encoding="utf-8") for name in SOURCES]
    found = [block.text for block in PAGE.blocks if block.language == "python"]
    assert len(found) >= 7
    for text in found:
        assert any(text in source for source in sources), text


def test_a_refused_record_is_applied_once_the_read_model_is_fixed(
    project: Project, settings: Settings
) -> None:
    """Its letter is listed and settled; the other users were visible all the time."""
    log = ForgedLog(settings)
    log.users(0, 5)
    log.users(5, 1, email_key="nobody")
    log.users(6, 4)
    project.execute(f"export ROLLBOOK_READ_MODELS={NAMED}")
    project.execute("rollbook projector run domains &")
    question = "python -m tests.examples.users_per_domain"
    eventually(lambda: "example.com 9" in plain(project.execute(question)))
    listed = project.execute("rollbook dead-letters list --reader projector:domains")
    assert "no_domain" in listed
    assert "1 dead letter open" in listed
    retry = "rollbook dead-letters retry --all --reader projector:domains"
    assert "1 poisoned" in project.execute(retry + " || true")
    project.patch(
        "--- tests/examples/domains.py\n"
        '     if not at:\n-        raise Poisoned("an address has no domain", code="no_domain")\n'
        '+        return "none"\n'
    )
    assert "1 applied" in project.execute(retry)
    assert_prints(project.execute(question), "domain users\nexample.com 9\nnone 1")
    log.users(5, 1, version=2, email_key="user5@example.com")
    healed = "domain users\nexample.com 10"
    eventually(lambda: plain(project.execute(question)) == healed)
