"""Which read models there are: ours, and those that a setting names."""

from contextlib import closing

import pytest

from projectors.catalog import OURS, open_versions, read_models
from runtime.settings import Settings
from schemas.errors import Misconfigured

DOMAINS = "domains=tests.examples.domains:DomainVersions"


def test_a_setting_names_more_read_models() -> None:
    settings = Settings(read_models=f" {DOMAINS} ,")
    assert list(read_models(settings)) == [*OURS, "domains"]
    with closing(open_versions(settings, "domains")) as versions:
        assert versions.name == "domains"


@pytest.mark.parametrize(
    "entry",
    [
        "domains",
        "domains=",
        "domains=tests.examples.domains",
        "domains=tests.examples.domains:Nothing",
        "domains=tests.examples.domains:COLUMNS",
        "domains=no.such.module:DomainVersions",
        "others=tests.examples.domains:DomainVersions",
        "postgres=tests.examples.domains:DomainVersions",
    ],
)
def test_what_is_no_read_model_is_refused_naming_the_setting(entry: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        read_models(Settings(read_models=entry))
    assert "read_models" in str(refused.value)
    assert entry in str(refused.value)


def test_a_name_that_nobody_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(Misconfigured) as refused:
        open_versions(Settings(), "mongodb")
    assert (refused.value.code, "elasticsearch" in refused.value.next_step) == (
        "unknown_read_model",
        True,
    )
