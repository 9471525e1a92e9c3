"""The peer: Quix Streams' sinks to PostgreSQL and Elasticsearch, as a separate process.

It belongs to another environment, so nothing imports it: `scripts.bench.peers.quix` runs it with
one JSON object on stdin.
"""

import json
import sys
from typing import Any

from quixstreams import Application
from quixstreams.models import SchemaRegistryClientConfig
from quixstreams.models.serializers.avro import AvroDeserializer
from quixstreams.sinks import BaseSink


def main() -> None:
    """Write a topic into a store until terminated."""
    asked = json.load(sys.stdin)
    app = Application(
        broker_address=asked["broker"],
        consumer_group=asked["group"],
        auto_offset_reset="earliest",
        # A batch ends with a commit: after as many records as our projectors take, or after 5 s.
        commit_every=asked["batch"],
        state_dir=asked["folder"],
        auto_create_topics=False,
        loglevel="WARNING",
    )
    schemas = SchemaRegistryClientConfig(url=asked["registry"])
    topic = app.topic(
        asked["topic"],
        key_deserializer="str",
        value_deserializer=AvroDeserializer(schema_registry_client_config=schemas),
    )
    app.dataframe(topic).sink(_sink(asked))
    app.run()


def _sink(asked: dict[str, Any]) -> BaseSink:
    if asked["sink"] == "postgres":
        from quixstreams.sinks.community.postgresql import PostgreSQLSink

        return PostgreSQLSink(
            **asked["options"],
            # The table exists, like ours; the plain columns are upserted by key.
            schema_auto_update=False,
            include_metadata=False,
            primary_key_columns=["user_id"],
            upsert_on_primary_key=True,
        )
    from elasticsearch import Elasticsearch
    from quixstreams.sinks.community.elasticsearch import ElasticsearchSink

    # Nothing else of the peer is changed. The sink calls `GET /` once, to log what it is connected
    # to, and the distribution of Elasticsearch for integration tests does not have that.
    Elasticsearch.info = _no_info  # type: ignore[method-assign,assignment]
    return ElasticsearchSink(**asked["options"])


def _no_info(_client: Any) -> Any:
    return {}


if __name__ == "__main__":
    main()
