"""Counts of everything that a search finds, beside the page of it that is shown."""

from dataclasses import dataclass
from typing import Any, Final

_YEARS: Final = 10
_DOMAINS: Final = 10

AGGREGATIONS: Final[dict[str, Any]] = {
    "age_groups": {"terms": {"field": "age_group"}},
    "ages": {"histogram": {"field": "age", "interval": _YEARS}},
    "email_domains": {"terms": {"field": "email_domain", "size": _DOMAINS}},
}


@dataclass(frozen=True, slots=True)
class Facets:
    """How many users a search finds, and how many of them of each kind.

    `ages` counts by ten years from the youngest to the oldest found, like ``30-39``, none left out;
    `email_domains` has the ten most frequent, `other_domains` counts the users of the others.
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
