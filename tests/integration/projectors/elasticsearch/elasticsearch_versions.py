"""Versions of the Elasticsearch read model for tests: the first, and more built without a log."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from projectors.contract.read_model import Batch
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from runtime.settings import Settings
from schemas.records import UserEvent


@contextmanager
def begun(settings: Settings) -> Iterator[ElasticsearchVersions]:
    """Make the read model with its first version; remove it afterwards."""
    with closing(ElasticsearchVersions(settings)) as versions:
        versions.begin()
        yield versions


def built(versions: ElasticsearchVersions, *events: UserEvent) -> int:
    """Return a version that holds `events` and is ready."""
    number = versions.create()
    with closing(versions.open(number)) as model:
        model.write(Batch(events, {}))
    versions.finish(number)
    versions.accept(number)
    return number


def live(versions: ElasticsearchVersions) -> list[int]:
    """Return the versions that are live: one, or something is wrong."""
    return [version.number for version in versions.versions() if version.live]


def at_once() -> None:
    """Stand for a version that has caught up."""
