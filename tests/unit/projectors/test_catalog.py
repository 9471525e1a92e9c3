"""The catalog lists our read models and those that the setting `read_models` names."""

from contextlib import closing

import pytest

from projectors.catalog import OURS, open_versions, read_models
from runtime.settings import Settings
from schemas.errors import Misconfigured
from tests.examples.domains import DomainVersions

DOMAINS = "domains=tests.examples.domains:DomainVersions"
FUNCTION = f"{__name__}:open_domains"


def open_domains(settings: Settings) -> DomainVersions:
    """Open a read model: a function has no attribute `name`."""
    return DomainVersions(settings)


def test_the_setting_adds_read_models() -> None:
    settings = Settings(read_models=f" {DOMAINS} ,")
    assert list(read_models(settings)) == [*OURS, "domains"]
    with closing(open_versions(settings, "domains")) as versions:
        assert versions.name == "domains"


def test_an_entry_may_be_a_function_that_opens_a_read_model() -> None:
    """As for PostgreSQL, where `PostgresVersions` takes more than the settings."""
    with closing(open_versions(Settings(read_models=f"domains={FUNCTION}"), "domains")) as versions:
        assert versions.name == "domains"
    with pytest.raises(Misconfigured) as refused:
        open_versions(Settings(read_models=f"other={FUNCTION}"), "other")
    assert refused.value.code == "bad_setting"


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
def test_an_entry_that_is_not_a_read_model_is_refused_by_name(entry: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        read_models(Settings(read_models=entry))
    assert "read_models" in str(refused.value)
    assert entry in str(refused.value)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Misconfigured) as refused:
        open_versions(Settings(), "mongodb")
    assert (refused.value.code, "elasticsearch" in refused.value.next_step) == (
        "unknown_read_model",
        True,
    )
