"""Which read models there are: the one place that knows them by name."""

from collections.abc import Callable

from projectors.read_model import ReadModel
from runtime.settings import Settings


def _postgres(settings: Settings) -> ReadModel:
    from projectors.postgres.writer import PostgresUsers

    return PostgresUsers(settings)


def _history(settings: Settings) -> ReadModel:
    from projectors.history.writer import PostgresHistory

    return PostgresHistory(settings)


def _elasticsearch(settings: Settings) -> ReadModel:
    from projectors.elasticsearch.writer import ElasticsearchUsers

    return ElasticsearchUsers(settings)


READ_MODELS: dict[str, Callable[[Settings], ReadModel]] = {
    "postgres": _postgres,
    "history": _history,
    "elasticsearch": _elasticsearch,
}
