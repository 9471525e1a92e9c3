"""Translates KQL to Elasticsearch queries as Kibana does, for the subset that our pages use.

The local Elasticsearch has no `kql` query, and Kibana is not available in tests. The rules are
Kibana's: a word becomes `match`, quoted text `match_phrase`, a word with `*` `query_string`, text
without a field `multi_match`.
"""

import re
from typing import Any

_TOKEN = re.compile(r'\s*(?:(?P<quoted>"[^"]*")|(?P<sign><=|>=|[():<>])|(?P<word>[^\s():<>"]+))')
_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_WORDS = {"and", "or", "not"}


def translate(kql: str) -> dict[str, Any]:
    """Return the query for `kql`; raise `ValueError` if it is invalid."""
    tokens = _Tokens(kql)
    query = _either(tokens)
    if tokens.next:
        raise ValueError(f"unexpected token: {tokens.next}")
    return query


class _Tokens:
    """The tokens of a text in order; `next` is '' at the end."""

    def __init__(self, text: str) -> None:
        self._left: list[str] = []
        end, text = 0, text.rstrip()
        while end < len(text):
            found = _TOKEN.match(text, end)
            if not found:
                raise ValueError(f"not KQL: {text[end:]}")
            self._left.append(found[0].strip())
            end = found.end()

    @property
    def next(self) -> str:
        return self._left[0] if self._left else ""

    def take(self, *wanted: str) -> str:
        """Consume the next token, which must be one of `wanted` if any are given."""
        token = self.next
        if not token or (wanted and token not in wanted):
            raise ValueError(f"expected {' or '.join(wanted) or 'more'}, not {token!r}")
        return self._left.pop(0)


def _either(tokens: _Tokens) -> dict[str, Any]:
    ways = [_both(tokens)]
    while tokens.next == "or":
        tokens.take()
        ways.append(_both(tokens))
    return ways[0] if len(ways) == 1 else {"bool": {"should": ways, "minimum_should_match": 1}}


def _both(tokens: _Tokens) -> dict[str, Any]:
    parts = [_one(tokens)]
    while tokens.next == "and":
        tokens.take()
        parts.append(_one(tokens))
    return parts[0] if len(parts) == 1 else {"bool": {"filter": parts}}


def _one(tokens: _Tokens) -> dict[str, Any]:
    if tokens.next == "not":
        tokens.take()
        return {"bool": {"must_not": [_one(tokens)]}}
    if tokens.next == "(":
        tokens.take()
        inner = _either(tokens)
        tokens.take(")")
        return inner
    first = tokens.take()
    if tokens.next in _RANGES:
        return {"range": {first: {_RANGES[tokens.take()]: tokens.take()}}}
    if tokens.next == ":":
        tokens.take()
        return _is(first, _text(tokens, tokens.take()))
    return _anywhere(_text(tokens, first))


def _text(tokens: _Tokens, first: str) -> str:
    """Return a quoted text, or all adjacent words."""
    text = first
    while not first.startswith('"') and tokens.next and tokens.next not in {*_WORDS, ")"}:
        text += " " + tokens.take()
    return text


def _is(field: str, text: str) -> dict[str, Any]:
    if text.startswith('"'):
        return {"match_phrase": {field: text.strip('"')}}
    if text == "*":
        return {"exists": {"field": field}}
    if "*" in text:
        return {"query_string": {"fields": [field], "query": text}}
    return {"match": {field: text}}


def _anywhere(text: str) -> dict[str, Any]:
    kind = "phrase" if text.startswith('"') else "best_fields"
    return {"multi_match": {"type": kind, "query": text.strip('"'), "lenient": True}}
