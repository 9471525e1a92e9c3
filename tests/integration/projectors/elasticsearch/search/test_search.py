"""Searches of a real index that the projector filled."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from projectors.catalog import open_versions
from projectors.contract.read_model import Batch
from projectors.elasticsearch.folding import fold
from projectors.elasticsearch.search import queries
from projectors.elasticsearch.search.cursor import Place, read_cursor, write_cursor
from projectors.elasticsearch.search.facets import Facets
from projectors.elasticsearch.search.queries import Page, UserSearch, search_users
from projectors.elasticsearch.search.request import Search
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Rejected, Unavailable
from schemas.fields.rules import to_datetime
from tests.integration.projectors.elasticsearch.search.search_index import GONE, Index
from tests.integration.projectors.elasticsearch.search.searched import CREATED, PEOPLE, names


@pytest.fixture
def search(index: Index) -> Iterator[UserSearch]:
    """Searches of the index."""
    with UserSearch(index.settings) as connection:
        yield connection


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("jose munoz", "José Muñoz"),
        ("JOSÉ", "José Muñoz"),
        ("muñ", "José Muñoz"),
        ("m jose", "José Muñoz"),
        ("lukasz zolc", "Łukasz Żółć"),
        ("lukazs", "Łukasz Żółć"),
        ("佐藤", "佐藤 太郎"),
        ("佐藤太郎", "佐藤 太郎"),
        ("федоров", "Иван Фёдоров"),
        ("smith doe", "Jane Smith"),
        ("jane.doe@example.org", "Jane Smith"),
        ("JANE.DOE@example.org", "Jane Smith"),
        ("doe@example", "Jane Smith"),
        ("smiht jnae", "Jane Smith"),
        ("weiss77", "Jürgen Weiß"),
        ("juergen", "Jürgen Weiß"),
        ("jurgen weiß", "Jürgen Weiß"),
        ("Jürgen", "Jürgen Weiß"),
        ("Jurgen W", "Jurgen Weisz"),
        ("lesley oconor", "Lesley O'Connor"),
        ("pepee@example.com", "José Muñoz"),
        ("xjana", "Jana Roe"),
        ("Mrs Janet Poe", "Janet Poe"),
        ("lesley oʼconnor", "Lesley O'Connor"),
    ],
)
def test_people_are_found_despite_typos_accents_and_prefixes(
    search: UserSearch, text: str, name: str
) -> None:
    """Every word must match, in the name or the address; other scripts work as well."""
    assert names(search.search_users(text))[:1] == [name]


@pytest.mark.parametrize("text", ["jane munoz", "nobody", "xj"])
def test_no_user_is_found_if_a_word_does_not_match(search: UserSearch, text: str) -> None:
    """That is not an error."""
    assert search.search_users(text) == []
    assert search.suggest_users(text) == []


def test_the_best_match_comes_first(search: UserSearch) -> None:
    """Exact words, then prefixes, then typos; a complete address finds only its user."""
    assert names(search.search_users("jane"))[:3] == ["Jane Smith", "Janet Poe", "Jana Roe"]
    assert names(search.search_users("JANA@example.com")) == ["Jana Roe"]
    assert names(search.search_users("jane", limit=1)) == ["Jane Smith"]


def test_age_limits_narrow_a_search_or_are_one(search: UserSearch) -> None:
    """The limits are inclusive; of several age groups, any may match."""
    assert names(search.search_users(Search("ja", min_age=41, max_age=64))) == [
        "Jane Smith",
        "Janet Poe",
    ]
    assert names(search.search_users(Search("jurgen", age_groups=("teen",)))) == ["Jurgen Weisz"]
    found = search.search_users(Search(age_groups=("teen", "senior"), sort="age"))
    assert [user["age"] for user in found] == [15, 19, 65, 71]
    assert search.search_users(Search(min_age=66, max_age=70)) == []


def test_typos_never_mix_with_exact_matches(search: UserSearch) -> None:
    """By relevance they come last; in another order, only if there is no exact match."""
    assert names(search.search_users(Search("jane"))) == ["Jane Smith", "Janet Poe", "Jana Roe"]
    assert names(search.search_users(Search("jane", sort="age"))) == ["Janet Poe", "Jane Smith"]
    assert names(search.search_users(Search("jnae", sort="age"))) == ["Jane Smith"]


def test_users_are_sorted_as_requested(search: UserSearch) -> None:
    """By name ignoring accents, by age, newest first; also reversed."""
    by_name = names(search.search_users(Search("j", sort="name")))
    assert by_name == sorted(by_name, key=fold)
    assert "Jürgen Weiß" in by_name
    assert names(search.search_users(Search("j", sort="name", reverse=True))) == by_name[::-1]
    assert names(search.search_users(Search(sort="created"), limit=2)) == [
        "Lesley O'Connor",
        "Janet Poe",
    ]
    oldest = search.search_users(Search(sort="updated", reverse=True), limit=1)
    assert [(user["name"], user["created_at"]) for user in oldest] == [
        ("José Muñoz", to_datetime(CREATED))
    ]


def pages(search: UserSearch, asked: Search, limit: int) -> Iterator[Page]:
    """Yield the pages of a search, each read on demand."""
    page = search.page(asked, limit=limit)
    yield page
    while page.next:
        page = search.page(asked, limit=limit, cursor=page.next)
        yield page


def test_all_pages_show_one_point_in_time(index: Index, search: UserSearch) -> None:
    """A user who is created or deleted meanwhile changes no page."""
    asked = Search(sort="age")
    before = names(search.search_users(asked))
    remaining = pages(search, asked, limit=3)
    seen = names(next(remaining).users)
    new = user_event(1, name="Nova Newman", age=16)
    store(index, new)
    assert "Nova Newman" in names(search.search_users(asked, limit=11))
    sizes = []
    for page in remaining:
        seen += names(page.users)
        sizes.append(len(page.users))
    assert seen == before
    assert sizes == [3, 3, 1]
    store(index, user_event(1, version=2, gone=True))
    assert names(list(search.every_user(asked))) == before


def test_a_slow_reader_gets_every_user(
    index: Index, search: UserSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the point in time is no longer kept, the stream goes on after the last user."""
    asked = Search(sort="age")
    every = names(search.search_users(asked, limit=100))
    monkeypatch.setattr(queries, "LIMIT_MAX", 3)
    opened: list[Place] = []
    open_place = search._open

    def note_place() -> Place:
        opened.append(open_place())
        return opened[-1]

    monkeypatch.setattr(search, "_open", note_place)
    seen = []
    for user in search.every_user(asked):
        seen.append(user["name"])
        if len(seen) % 3 == 0:
            index.client.close_point_in_time(id=opened[-1].point_in_time)
    assert seen == every
    assert len(opened) == 1 + (len(every) - 1) // 3


def store(index: Index, event: Any) -> None:
    """Apply an event, and wait until searches see it."""
    with (
        closing(open_versions(index.settings, "elasticsearch")) as versions,
        closing(versions.open(1)) as model,
    ):
        model.write(Batch([event], {}))
        model.make_visible()


def test_later_pages_have_the_same_tolerance_for_typos_as_the_first(search: UserSearch) -> None:
    found = [names(page.users) for page in pages(search, Search("janx"), limit=1)]
    assert found == [["Jana Roe"], ["Jane Smith"]]


def test_an_unusable_cursor_is_refused(index: Index, search: UserSearch) -> None:
    """Of another search, damaged, forged, or expired."""
    asked = Search(sort="age")
    cursor = search.page(asked, limit=1).next
    assert cursor is not None
    place = read_cursor(cursor, asked)
    assert place.point_in_time is not None
    for other, text in (
        (Search("jane"), cursor),
        (asked, cursor[1:]),
        (asked, write_cursor(replace(place, point_in_time=f"x{place.point_in_time}"), asked)),
        (asked, write_cursor(replace(place, after=["x"]), asked)),
    ):
        with pytest.raises(Rejected) as refused:
            search.page(other, cursor=text)
        assert refused.value.code == "invalid_cursor"
    index.client.close_point_in_time(id=place.point_in_time)
    with pytest.raises(Rejected) as refused:
        search.page(asked, cursor=cursor)
    assert refused.value.code == "cursor_expired"


def test_deleted_users_are_hidden_from_every_search(search: UserSearch) -> None:
    """Also from points in time, counts, suggestions and searches for the complete address."""
    for text in (GONE.name, GONE.email):
        assert GONE.name not in names(search.search_users(text))
        assert GONE.name not in names(search.suggest_users(text))
    everybody = Search(sort="name", facets=True)
    assert len(list(search.every_user(everybody))) == len(PEOPLE)
    facets = search.page(everybody).facets
    assert facets is not None
    assert facets.total == len(PEOPLE)


def test_facets_count_all_users_found(search: UserSearch) -> None:
    """Not only those on the page; with the same tolerance for typos."""
    page = search.page(Search("j", min_age=16, facets=True), limit=1)
    assert len(page.users) == 1
    assert page.facets == Facets(
        total=5,
        age_groups={"adult": 4, "senior": 1},
        ages={"30-39": 1, "40-49": 2, "50-59": 0, "60-69": 2},
        email_domains={"example.com": 3, "example.net": 1, "example.org": 1},
        other_domains=0,
    )
    typos = search.page(Search("jnae", facets=True)).facets
    assert typos is not None
    assert typos.total > 0


def test_every_minute_has_a_count_of_creations(search: UserSearch) -> None:
    assert search.count_creations(3) == [0, 0, 0]


def test_a_prefix_suggests_users(search: UserSearch) -> None:
    """By name and address; with typos only if there is no other match."""
    assert names(search.suggest_users("jan")) == ["Jana Roe", "Jane Smith", "Janet Poe"]
    assert names(search.suggest_users("jane sm")) == ["Jane Smith"]
    assert names(search.suggest_users("weiss7")) == ["Jürgen Weiß"]
    assert names(search.suggest_users("lukazs")) == ["Łukasz Żółć"]
    (only,) = search.suggest_users("jan", limit=1)
    assert only.keys() == {"user_id", "name", "email"}


def test_without_an_index_the_read_model_is_missing(index: Index) -> None:
    settings: Settings = replace(index.settings, prefix=f"{index.settings.prefix}-none")
    with UserSearch(settings) as search:
        for ask in (search.search_users, search.page, search.suggest_users):
            with pytest.raises(Unavailable) as unavailable:
                ask("jane")
            assert unavailable.value.code == "read_model_missing"
    with pytest.raises(Unavailable):
        search_users(settings, "jane")
