"""docs/searching.md is accurate: each request on it gives the answer that the page states."""

import doctest
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import BadRequestError

from projectors.elasticsearch.index.mapping import USER_FIELDS
from scripts.stack.native.local import LocalStack
from tests.integration.projectors.elasticsearch.search.search_index import Index, index_of
from tests.integration.projectors.elasticsearch.search.search_page import (
    PAGE,
    Example,
    fields,
    people,
    sections,
)
from tests.observed.kql import translate
from tests.started.processes import Rollbook


@pytest.fixture(scope="module")
def index(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with index_of(stack, tmp_path_factory.mktemp("search"), people()) as filled:
        yield filled


@pytest.mark.parametrize("title", sections())
def test_each_example_has_the_answer_on_the_page(
    title: str, index: Index, stack: LocalStack
) -> None:
    """In the order of the page, because later requests use ids from earlier answers."""
    known: dict[str, Any] = {}
    for example in sections()[title]:
        if example.language == "python":
            assert doctest_failures(example.text) == 0
        elif example.language == "sh":
            printed = run(example, index, stack)
            assert_finds(example, [line["name"] for line in printed if "name" in line])
            assert_holds(printed[-1], example.answer)
        else:
            ask(example, index, known)


def ask(example: Example, index: Index, known: dict[str, Any]) -> None:
    """Send one request and compare its answer, also in other query languages."""
    method, path, body = example.request()
    answer = index.ask(method, path, filled_in(body, known))
    hits = answer.get("hits", {}).get("hits", [])
    assert_finds(example, [hit["_source"]["name"] for hit in hits])
    assert_holds(answer, example.answer)
    for language, text in example.queries:
        query = translate(text) if language == "KQL" else {"query_string": {"query": text}}
        assert index.found_by(query) == set(example.finds or []), text
    known["$pit"] = answer.get("pit_id", answer.get("id"))
    known["$sort"] = hits[-1].get("sort") if hits else None


def run(example: Example, index: Index, stack: LocalStack) -> list[dict[str, Any]]:
    """Run a command of the page with `--json`; return the printed objects."""
    words = shlex.split(example.text)
    rollbook = Rollbook(index.settings, stack.config_file, Path(index.settings.state_directory))
    done = rollbook.run(*words[1:], "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_finds(example: Example, names: list[str]) -> None:
    """Compare names with those on the page; in order if the request sorts."""
    if example.finds is None:
        return
    if '"sort"' in example.text or "--sort" in example.text:
        assert names == example.finds
    else:
        assert sorted(names) == sorted(example.finds)


def assert_holds(answer: Any, part: Any) -> None:
    """Fail unless `answer` contains all of `part`; lists must have the same length."""
    if isinstance(part, dict):
        for key, inner in part.items():
            assert_holds(answer[key], inner)
    elif isinstance(part, list):
        assert len(answer) == len(part)
        for each, inner in zip(answer, part, strict=True):
            assert_holds(each, inner)
    elif part is not None:
        assert answer == part


def filled_in(body: Any, known: dict[str, Any]) -> Any:
    """Return a request with $pit and $sort replaced by values."""
    if isinstance(body, dict):
        return {key: filled_in(value, known) for key, value in body.items()}
    if isinstance(body, str) and body.startswith("$"):
        return known[body]
    return body


def doctest_failures(text: str) -> int:
    """Run a Python session of the page; return how many of its lines have another result."""
    session = doctest.DocTestParser().get_doctest(text, {}, "searching.md", None, None)
    return doctest.DocTestRunner(verbose=False).run(session).failed


def test_the_page_has_examples_of_every_kind() -> None:
    """A misspelt fence would silently exclude its example."""
    examples = [example for found in sections().values() for example in found]
    assert PAGE.count("```http") == sum(example.language == "http" for example in examples) >= 15
    assert {example.language for example in examples} == {"http", "sh", "python"}
    assert sum(len(example.queries) for example in examples) == PAGE.count("\nKQL: ") + 1
    assert len(people()) == 10


def test_the_table_of_fields_equals_the_mapping(index: Index) -> None:
    """Name and type of each field of the real index."""
    (live,) = index.ask("GET", "/rollbook-users/_mapping").values()
    found = {}
    for name, field in live["mappings"]["properties"].items():
        found[name] = field["type"]
        found |= {f"{name}.{sub}": inner["type"] for sub, inner in field.get("fields", {}).items()}
    assert fields() == found
    assert set(live["mappings"]["properties"]) == set(USER_FIELDS)


def test_the_alias_hides_deleted_users_and_a_get_by_id_does_not(index: Index) -> None:
    """As the page warns; a search for the id finds nothing, as it says."""
    assert index.search({"query": {"term": {"user_id": index.gone_id}}})["hits"]["hits"] == []
    marker = index.ask("GET", f"/rollbook-users/_doc/{index.gone_id}")["_source"]
    assert set(marker) == {"user_id", "version", "updated_at", "gone"}
    assert index.ask("GET", f"/{index.alias}/_count")["count"] == len(people())


def test_the_index_does_not_fold_queries(index: Index) -> None:
    """A query with an accent finds no user in folded text, as the page says."""
    assert index.found_by({"match": {"name_folded": "José"}}) == set()
    assert index.found_by({"match": {"name_folded": "jose"}}) == {"José Muñoz"}


def test_a_phrase_in_folded_addresses_is_refused(index: Index) -> None:
    """As the page says: the field has no positions."""
    with pytest.raises(BadRequestError):
        index.found_by(translate('email_folded : "example org"'))


def test_the_comparison_can_fail(index: Index) -> None:
    """It notices a wrong name, a wrong count and a missing bucket."""
    answer = {"hits": {"hits": [{"n": 1}, {"n": 2}]}}
    assert_holds(answer, {"hits": {"hits": [{"n": 1}, {}]}})
    for wrong in ({"hits": {"hits": [{"n": 1}]}}, {"hits": {"hits": [{"n": 1}, {"n": 3}]}}):
        with pytest.raises(AssertionError):
            assert_holds(answer, wrong)
    with pytest.raises(AssertionError):
        assert_finds(Example("http", "GET /", finds=["Jane Roe"]), ["Jane Doe"])
