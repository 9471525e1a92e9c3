"""The index of checkpoints is brought up to date, works for older releases, or is refused."""

from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import pytest

from projectors.contract.read_model import Advance, Batch, Position
from projectors.elasticsearch.index.bookkeeping import STEPS, Bookkeeping, Step
from projectors.elasticsearch.index.indexes import CHECKPOINTS_INDEX
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Misconfigured
from tests.observed.read_models import live_versions

FORMAT: Final = len(STEPS)
# What a later release could need; the one after that writes what only that one can read.
LATER: Final = Step({"note": {"type": "keyword"}})
AFTER: Final = Step({}, required=FORMAT + 1)
STEP: Final = Advance(None, Position("topic", 1, 1))


def of_release(settings: Settings, *later: Step) -> ElasticsearchVersions:
    """Return the versions as a release sees them that has further steps."""
    versions = ElasticsearchVersions(settings)
    versions._bookkeeping = Bookkeeping(settings, versions._client, (*STEPS, *later))
    return versions


def mapping(versions: ElasticsearchVersions) -> dict[str, Any]:
    index = versions._settings.named(CHECKPOINTS_INDEX)
    found: dict[str, Any] = versions._client.indices.get_mapping(index=index)[index]["mappings"]
    return found


def numbers(versions: ElasticsearchVersions) -> dict[str, int]:
    found: dict[str, int] = mapping(versions).get("_meta", {}).get("bookkeeping", {})
    return found


def test_the_index_of_an_earlier_release_is_brought_up_to_date(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """It has no format. The positions stay."""
    assert numbers(versions) == {"format": FORMAT, "required": 0}
    index = settings.named(CHECKPOINTS_INDEX)
    versions._client.indices.put_mapping(index=index, meta={"other": "facts"})
    with closing(versions.open(1)) as model:
        model.write(Batch([user_event(1)], {0: STEP}))
        assert (live_versions(versions), numbers(versions)) == ([1], {})
        versions.begin()
        assert numbers(versions) == {"format": FORMAT, "required": 0}
        assert mapping(versions)["_meta"]["other"] == "facts"
        assert model.checkpoint() == {0: STEP.after}


def test_a_release_works_with_the_index_of_the_next_one(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """A later format only adds."""
    with closing(of_release(settings, LATER)) as later:
        later.begin()
        assert "note" in mapping(later)["properties"]
        versions.begin()
        assert numbers(later) == {"format": FORMAT + 1, "required": 0}
        number = versions.create()
        with closing(versions.open(number)) as model:
            model.write(Batch([user_event(1)], {0: STEP}))
        versions.finish(number)
        versions.accept(number)
        assert [version.number for version in later.versions()] == [1, number]


def test_an_index_that_needs_a_later_release_is_refused(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """Before anything is written; the release between the two still works with it."""
    with closing(of_release(settings, LATER, AFTER)) as newest:
        newest.begin()
    uses: list[Callable[[], object]] = [versions.versions, versions.begin, versions.create]
    uses.append(lambda: versions.drop(1))
    for use in uses:
        with pytest.raises(Misconfigured) as refused:
            use()
        assert refused.value.code == "newer_bookkeeping"
    with closing(of_release(settings, LATER)) as between:
        between.begin()
        assert live_versions(between) == [1]
