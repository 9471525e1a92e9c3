"""Searching as people do, over a real index that the projector filled."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from projectors.catalog import open_versions
from projectors.contract.read_model import Batch
from projectors.elasticsearch.folding import fold
from projectors.elasticsearch.search.cursor import read_cursor, write_cursor
from projectors.elasticsearch.search.facets import Facets
from projectors.elasticsearch.search.queries import Page, UserSearch, search_users
from projectors.elasticsearch.search.request import Search
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Rejected, Unavailable
from schemas.rules import to_datetime
from scripts.stack.local import LocalStack
from tests.integration.projectors.elasticsearch.search_index import GONE, Index, index_of
from tests.integration.projectors.elasticsearch.searched import CREATED, PEOPLE, names


@pytest.fixture(scope="module")
def index(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index of `PEOPLE`, and of Jane Roe, who was deleted."""
    with index_of(stack, tmp_path_factory.mktemp("search"), PEOPLE) as filled:
        yield filled


@pytest.fixture
def search(index: Index) -> Iterator[UserSearch]:
    """A connection for searches of the index."""
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
    ],
)
def test_people_are_found_despite_typos_accents_and_half_words(
    search: UserSearch, text: str, name: str
) -> None:
    """All words must match, in the name or the address; other scripts are found as well."""
    assert names(search.search_users(text))[:1] == [name]


@pytest.mark.parametrize("text", ["jane munoz", "nobody", "xj"])
def test_nobody_is_found_by_half_of_the_words(search: UserSearch, text: str) -> None:
    """Nothing found is an answer."""
    assert search.search_users(text) == []
    assert search.suggest_users(text) == []


def test_the_best_comes_first(search: UserSearch) -> None:
    """Words as typed, then beginnings, then slips; above all, a whole address and nobody else."""
    assert names(search.search_users("jane"))[:3] == ["Jane Smith", "Janet Poe", "Jana Roe"]
    assert names(search.search_users("JANA@example.com")) == ["Jana Roe"]
    assert names(search.search_users("jane", limit=1)) == ["Jane Smith"]


def test_limits_of_age_narrow_a_search_or_are_one(search: UserSearch) -> None:
    """Both ages included; several groups are one or the other."""
    assert names(search.search_users(Search("ja", min_age=41, max_age=64))) == [
        "Jane Smith",
        "Janet Poe",
    ]
    assert names(search.search_users(Search("jurgen", age_groups=("teen",)))) == ["Jurgen Weisz"]
    found = search.search_users(Search(age_groups=("teen", "senior"), sort="age"))
    assert [user["age"] for user in found] == [15, 19, 65, 71]
    assert search.search_users(Search(min_age=66, max_age=70)) == []


def test_slips_never_stand_between_those_who_are_called_as_was_typed(search: UserSearch) -> None:
    """By relevance they come last; in another order only where there is nobody else."""
    assert names(search.search_users(Search("jane"))) == ["Jane Smith", "Janet Poe", "Jana Roe"]
    assert names(search.search_users(Search("jane", sort="age"))) == ["Janet Poe", "Jane Smith"]
    assert names(search.search_users(Search("jnae", sort="age"))) == ["Jane Smith"]


def test_users_are_sorted_as_asked(search: UserSearch) -> None:
    """By name without accents, by age, the newest first; turned round as well."""
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
    """Yield the pages of a search, each when it is asked for."""
    page = search.page(asked, limit=limit)
    yield page
    while page.next:
        page = search.page(asked, limit=limit, cursor=page.next)
        yield page


def test_pages_are_of_one_moment(index: Index, search: UserSearch) -> None:
    """Who comes or goes meanwhile is neither shown twice nor left out."""
    asked = Search(sort="age")
    before = names(search.search_users(asked))
    turning = pages(search, asked, limit=3)
    seen = names(next(turning).users)
    new = user_event(1, name="Nova Newman", age=16)
    store(index, new)
    assert "Nova Newman" in names(search.search_users(asked, limit=11))
    sizes = []
    for page in turning:
        seen += names(page.users)
        sizes.append(len(page.users))
    assert seen == before
    assert sizes == [3, 3, 1]
    store(index, user_event(1, version=2, gone=True))
    assert names(list(search.every_user(asked))) == before


def store(index: Index, event: Any) -> None:
    """Let the projector write an event, and wait until searches see it."""
    with (
        closing(open_versions(index.settings, "elasticsearch")) as versions,
        closing(versions.open(1)) as model,
    ):
        model.write(Batch([event], {}))
        model.make_visible()


def test_pages_go_on_with_the_slips_of_the_first(search: UserSearch) -> None:
    """A page after the first does not begin anew."""
    found = [names(page.users) for page in pages(search, Search("janx"), limit=1)]
    assert found == [["Jana Roe"], ["Jane Smith"]]


def test_a_cursor_that_leads_nowhere_is_refused(index: Index, search: UserSearch) -> None:
    """Forged, of another search, or too old: each with what to do."""
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


def test_the_gone_are_hidden_whatever_is_asked(search: UserSearch) -> None:
    """Also of one moment, in counts, as suggestions and by the whole address."""
    for text in (GONE.name, GONE.email):
        assert GONE.name not in names(search.search_users(text))
        assert GONE.name not in names(search.suggest_users(text))
    everybody = Search(sort="name", facets=True)
    assert len(list(search.every_user(everybody))) == len(PEOPLE)
    facets = search.page(everybody).facets
    assert facets is not None
    assert facets.total == len(PEOPLE)


def test_facets_count_all_that_is_found(search: UserSearch) -> None:
    """Not only the page that is shown, and slips as the page has them."""
    page = search.page(Search("j", min_age=16, facets=True), limit=1)
    assert len(page.users) == 1
    assert page.facets == Facets(
        total=5,
        age_groups={"adult": 4, "senior": 1},
        ages={"30-39": 1, "40-49": 2, "50-59": 0, "60-69": 2},
        email_domains={"example.com": 3, "example.net": 1, "example.org": 1},
        other_domains=0,
    )
    slips = search.page(Search("jnae", facets=True)).facets
    assert slips is not None
    assert slips.total > 0


def test_what_was_found_is_marked(search: UserSearch) -> None:
    """In the name and the address, as they are written."""
    (jane,) = search.search_users(Search("smiht doe", highlight=True))
    assert jane["highlights"] == {
        "name": "Jane <em>Smith</em>",
        "email": "jane.<em>doe</em>@example.org",
    }


def test_a_beginning_suggests_whom_it_may_mean(search: UserSearch) -> None:
    """Of names and addresses; slips only where there is nobody else."""
    assert names(search.suggest_users("jan")) == ["Jana Roe", "Jane Smith", "Janet Poe"]
    assert names(search.suggest_users("jane sm")) == ["Jane Smith"]
    assert names(search.suggest_users("weiss7")) == ["Jürgen Weiß"]
    assert names(search.suggest_users("lukazs")) == ["Łukasz Żółć"]
    (only,) = search.suggest_users("jan", limit=1)
    assert only.keys() == {"user_id", "name", "email"}


def test_what_cannot_be_found_is_refused(search: UserSearch) -> None:
    """A text is given to be found: an empty one is no search for all."""
    for text in ("", " ", "!?", "a" * 301):
        for ask in (search.search_users, search.page, search.suggest_users):
            with pytest.raises(Rejected) as refused:
                ask(text)
            assert refused.value.code == "invalid_query"


def test_without_an_index_the_read_model_is_missing(index: Index) -> None:
    """Whichever way it is asked."""
    settings: Settings = replace(index.settings, prefix=f"{index.settings.prefix}-none")
    with UserSearch(settings) as search:
        for ask in (search.search_users, search.page, search.suggest_users):
            with pytest.raises(Unavailable) as unavailable:
                ask("jane")
            assert unavailable.value.code == "read_model_missing"
    with pytest.raises(Unavailable):
        search_users(settings, "jane")
