"""A query that waited for a token shows the write, and so does every later one with that token."""

from collections import defaultdict
from collections.abc import Iterator

from tests.histories.history import Asked, History, Query


def broken_tokens(history: History) -> Iterator[str]:
    """Yield the queries that show less than they must."""
    writes: dict[str, list[Asked]] = defaultdict(list)
    for one in history.asked:
        if one.answer is not None and one.answer.accepted and one.answer.user_id is not None:
            writes[one.answer.user_id].append(one)
    by_user: dict[tuple[str, str], list[Query]] = defaultdict(list)
    for query in history.queries:
        by_user[query.user_id, query.model].append(query)
        for one in writes[query.user_id]:
            if not _shows(query, one):
                yield f"{query.client} waited for {one.command_id} and does not see it: {query}"
    for queries in by_user.values():
        yield from _lost_again(history, queries)


def _shows(query: Query, one: Asked) -> bool:
    answer = one.answer
    if answer is None or query.tokens.get(answer.partition, 0) < answer.seq:
        return True
    return (query.version or 0) >= (answer.version or 0)


def _lost_again(history: History, queries: list[Query]) -> Iterator[str]:
    """Yield queries that show an older version than one that was answered before they began."""
    for earlier in queries:
        for later in queries:
            if earlier.ended >= later.began or (later.version or 0) >= (earlier.version or 0):
                continue
            if not history.forgets_reads:
                yield f"version {earlier.version} of {later.user_id} was seen, later {later}"
