"""Counts over all users that a search finds, not only over the page that is shown."""

from dataclasses import dataclass
from typing import Any, Final

_YEARS: Final = 10
_DOMAINS: Final = 10

AGGREGATIONS: Final[dict[str, Any]] = {
    "age_groups": {"terms": {"field": "age_group"}},
    "ages": {"histogram": {"field": "age", "interval": _YEARS}},
    "email_domains": {"terms": {"field": "email_domain", "size": _DOMAINS}},
}


def creations_body(minutes: int) -> dict[str, Any]:
    """Return a request that counts the users created in each of the last minutes."""
    first = f"now-{minutes - 1}m/m"
    histogram = {
        "field": "created_at",
        "fixed_interval": "1m",
        "min_doc_count": 0,
        "extended_bounds": {"min": first, "max": "now/m"},
    }
    return {
        "size": 0,
        "query": {"range": {"created_at": {"gte": first, "lte": "now"}}},
        "aggs": {"minutes": {"date_histogram": histogram}},
    }


def read_creations(answer: dict[str, Any]) -> list[int]:
    """Return the counts in an answer to such a request, the oldest minute first."""
    return [bucket["doc_count"] for bucket in answer["aggregations"]["minutes"]["buckets"]]


@dataclass(frozen=True, slots=True)
class Facets:
    """How many users a search finds, in total and by kind.

    `ages` counts by decade, such as ``30-39``, from the youngest to the oldest user found, empty
    decades included. `email_domains` has the ten most frequent domains, `other_domains` the number
    of users in all others.
    """

    total: int
    age_groups: dict[str, int]
    ages: dict[str, int]
    email_domains: dict[str, int]
    other_domains: int


def read_facets(answer: dict[str, Any]) -> Facets:
    """Return the facets in an answer to a request with `AGGREGATIONS`."""
    found = answer["aggregations"]
    return Facets(
        total=answer["hits"]["total"]["value"],
        age_groups=_counts(found["age_groups"]),
        ages={
            f"{int(bucket['key'])}-{int(bucket['key']) + _YEARS - 1}": bucket["doc_count"]
            for bucket in found["ages"]["buckets"]
        },
        email_domains=_counts(found["email_domains"]),
        other_domains=found["email_domains"]["sum_other_doc_count"],
    )


def _counts(terms: dict[str, Any]) -> dict[str, int]:
    return {bucket["key"]: bucket["doc_count"] for bucket in terms["buckets"]}
