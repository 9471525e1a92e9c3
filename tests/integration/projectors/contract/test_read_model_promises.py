"""Every read model of ours, and a custom one in PostgreSQL, keeps the promises on its server."""

from contextlib import closing
from dataclasses import replace

import pytest

from projectors.catalog import OURS, open_versions
from projectors.promises import PROMISES, Promise, Trial, promise_name
from runtime.settings import Settings
from tests.integration.projectors.contract import postgres_domains

CUSTOM = f"{postgres_domains.NAME}={postgres_domains.__name__}:domain_table_versions"


@pytest.mark.parametrize("name", [*OURS, postgres_domains.NAME])
@pytest.mark.parametrize("promise", PROMISES, ids=promise_name)
def test_a_read_model_keeps_its_promises(promise: Promise, name: str, store: Settings) -> None:
    settings = replace(store, read_models=CUSTOM)
    with closing(Trial(lambda: open_versions(settings, name))) as trial:
        promise(trial)
