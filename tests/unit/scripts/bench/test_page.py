"""The page of figures shows what the last runs measured."""

from xml.etree import ElementTree as ET

import pytest

from scripts.bench.report import page, plot
from scripts.bench.report.sizes import memory_picture, sizes_picture


def test_the_page_and_its_pictures_are_current() -> None:
    """`make plots` writes all of them."""
    figures = page.read_figures()
    text = page.PAGE.read_text("utf-8")
    assert page.with_tables(text, page.tables(figures)) == text
    assert plot.svg(figures) == page.PICTURE.read_text("utf-8")
    assert sizes_picture(figures["sizes"]) == page.SIZES_PICTURE.read_text("utf-8")
    assert memory_picture(figures["sizes"]) == page.MEMORY_PICTURE.read_text("utf-8")


def test_every_table_is_on_the_page() -> None:
    text = page.PAGE.read_text("utf-8")
    for name in page.tables(page.read_figures()):
        assert f"<!-- figures: {name} -->" in text


def test_an_unknown_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="no table other"):
        page.with_tables("<!-- figures: other -->\n<!-- end of figures -->", {})


def test_a_figure_that_was_not_measured_is_left_out_of_the_picture() -> None:
    figures = page.read_figures()
    figures["projectors"]["debezium_per_second"] = None
    picture = plot.svg(figures)
    ET.fromstring(picture)  # noqa: S314 - our own
    assert "Debezium" not in picture
    assert "Debezium" in plot.svg(page.read_figures())
