"""The index of checkpoints, whose `_meta` holds the format of rollbook's own documents and `_meta`.

Two numbers, as in PostgreSQL (see `projectors.postgres.store.bookkeeping`): the `format`, and the
format that a release must know to use the indexes, `required`. An index without them was made by an
earlier release and has format 0.

Elasticsearch changes a mapping in one step, but not on condition of what it was. Two releases that
bring an index up to date at the same moment may leave the earlier one's number: then the later one
takes its steps again when it starts, which changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from elasticsearch import ApiError, BadRequestError, Elasticsearch, TransportError

from projectors.contract.refusals import check_format
from projectors.elasticsearch.client import elasticsearch_available, explain, reason_of
from projectors.elasticsearch.index.indexes import (
    CHECKPOINTS_ALIAS,
    CHECKPOINTS_INDEX,
    OWN_MAPPING,
    OWN_SETTINGS,
)
from projectors.elasticsearch.index.mapping import DATE
from runtime.settings import Settings
from schemas.errors import Misconfigured

_META: Final = "bookkeeping"
_EXISTS: Final = "resource_already_exists_exception"


@dataclass(frozen=True, slots=True)
class Step:
    """The fields that the next format adds to a checkpoint.

    Releases that know an earlier format, at least `required`, neither write nor need them.
    """

    fields: Mapping[str, Any]
    required: int = 0


# Appended to, never edited: some indexes have gone through the first ones only.
STEPS: Final[Sequence[Step]] = (
    Step(
        {
            "index": {"type": "keyword"},
            # Ties the checkpoint to the data: an index that was deleted and created again under the
            # same name must not use the old checkpoint.
            "index_uuid": {"type": "keyword"},
            "partition": {"type": "integer"},
            "topic_id": {"type": "keyword"},
            "next_offset": {"type": "long"},
            "last_seq": {"type": "long"},
            "applied_at": DATE,
        }
    ),
)


class Bookkeeping:
    """The format of the indexes of one prefix. `facts` are those of the index of checkpoints."""

    def __init__(
        self, settings: Settings, client: Elasticsearch, steps: Sequence[Step] = STEPS
    ) -> None:
        self._settings = settings
        self._client = client
        self._steps = steps
        self._index = settings.named(CHECKPOINTS_INDEX)

    def check(self, facts: Mapping[str, Any] | None) -> int:
        """Return the format of the indexes. Changes nothing.

        Raises `Misconfigured` (`newer_bookkeeping`) if they require a format that this release does
        not know.
        """
        stored = _meta(facts).get(_META, {})
        check_format(
            f"Elasticsearch index {self._index}",
            required=stored.get("required", 0),
            known=len(self._steps),
        )
        return int(stored.get("format", 0))

    def update(self, facts: Mapping[str, Any] | None) -> None:
        """Create the index, or take the steps that it lacks. Idempotent. Raises as `check` does."""
        fields = {name: kind for step in self._steps for name, kind in step.fields.items()}
        required = max(step.required for step in self._steps)
        meta = {**_meta(facts), _META: {"format": len(self._steps), "required": required}}
        if facts is None:
            self._create(fields, meta)
        elif self.check(facts) < len(self._steps):
            with elasticsearch_available(self._settings):
                self._client.indices.put_mapping(index=self._index, properties=fields, meta=meta)

    def _create(self, fields: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        body = {
            "settings": {
                "number_of_shards": 1,
                "number_of_replicas": self._settings.elasticsearch_replicas,
                "hidden": True,
                **OWN_SETTINGS,
            },
            "mappings": {**OWN_MAPPING, "properties": fields, "_meta": meta},
            "aliases": {self._settings.named(CHECKPOINTS_ALIAS): {"is_hidden": True}},
        }
        create_index(self._settings, self._client, self._index, body)


def create_index(
    settings: Settings, client: Elasticsearch, index: str, body: Mapping[str, Any]
) -> bool:
    """Create an index; return False if it already exists."""
    try:
        client.indices.create(index=index, **body)
    except (ApiError, TransportError) as error:
        if isinstance(error, BadRequestError) and error.error == _EXISTS:
            return False
        if isinstance(error, BadRequestError):
            # This reason quotes no document.
            raise Misconfigured(
                f"Elasticsearch refuses to create the index {index}: {reason_of(error)}",
                code="elasticsearch_refused",
                next_step="does an index template of the cluster match this name? "
                "then exclude it, or choose another prefix",
            ) from None
        raise explain(settings, error) from None
    return True


def _meta(facts: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (facts or {}).get("mappings", {}).get("_meta", {})
    return found
