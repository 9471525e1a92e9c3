"""The report shows what the last runs found."""

from scripts.bench.report.page import with_tables
from tests.faults import report


def test_the_tables_of_the_report_are_current() -> None:
    """`python -m tests.faults.report` writes them."""
    text = report.PAGE.read_text("utf-8")
    assert with_tables(text, report.tables()) == text


def test_every_table_is_on_the_page() -> None:
    text = report.PAGE.read_text("utf-8")
    for name in report.tables():
        assert f"<!-- figures: {name} -->" in text
