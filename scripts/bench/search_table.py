"""What people type, and whom they mean: the table that tells how good a search is.

Each query was written from one user of `scripts.bench.search_people`, as a person would type it who
knows a little less than everything, before its result was looked at.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from projectors.contract.read_model import Batch
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.elasticsearch.search.queries import UserSearch
from runtime.settings import Settings
from scripts.bench.search_people import registrations
from scripts.bench.stores import remove_read_models


class Query(NamedTuple):
    """What is typed, and whom it means: an address, or a name where any user so called is right."""

    text: str
    means: str


QUERIES: Final = (
    # Names without their accents, in any case and order.
    Query("CONCEPCION CAMPOS", "Concepción Campos"),
    Query("ildiko szalai", "Ildikó Szalai"),
    Query("sylwia waclawiak", "Sylwia Wacławiak"),
    Query("zurawik lukasz", "Łukasz Żurawik"),
    Query("humeyra eraslan", "Hümeyra Eraslan"),
    Query("Aristita Nita", "Aristița Niță"),
    Query("duskova felix", "Felix Dušková"),
    Query("teodor hruby", "Teodor Hrubý"),
    Query("ozturk karadeniz", "Öztürk Karadeniz"),
    Query("danuta weiss", "Danuta Weiß"),
    Query("dan kjaer", "Dan Kjær"),
    Query("orni johnsen", "Ørni Johnsen"),
    Query("celikkan ihsanoglu", "Çelikkan İhsanoğlu"),
    Query("drahoslav krizova", "Drahoslav Křížová"),
    Query("Sevillano, Julieta", "Julieta Sevillano"),
    # Accents where they belong: before those who are written without.
    Query("heinz jürgen hertrampf", "Heinz-Jürgen Hertrampf"),
    Query("Søren Nørgaard", "Søren Nørgaard"),
    # German and Danish without the letters.
    Query("Froehlich Dogan", "Dogan Fröhlich"),
    Query("heidelore loechel", "Heidelore Löchel"),
    Query("Joergen Loefgren", "Jörgen Löfgren"),
    Query("hermine schaefer", "Hermine Schäfer"),
    Query("soeren andresen", "Søren Andresen"),
    Query("Aabjoern Poulsen", "Åbjørn Poulsen"),
    Query("karolina aakesson", "Karolina Åkesson"),
    Query("juergen hertrampf", "Heinz-Jürgen Hertrampf"),
    # Slips: a letter wrong, missing, doubled or swapped, at the beginning too.
    Query("artur chonja", "Artur Chojna"),
    Query("lukazs mlotek", "Łukasz Młotek"),
    Query("despnia oprea", "Despina Oprea"),
    Query("rauqel quintero", "Raquel Quintero"),
    Query("giovani martens", "Giovanni Martens"),
    Query("matheiu merle", "Matthieu Merle"),
    Query("montserat corbacho", "Montserrat Corbacho"),
    Query("cristoforeti marcelo", "Marcello Cristoforetti"),
    Query("melisa interminelli", "Melissa Interminei"),
    Query("karsten ehrhard", "Ehrhard Carsten"),
    Query("lucchino barsanti", "Luchino Barsanti"),
    Query("bengibay karadenis", "Bengibay Karadeniz"),
    Query("evelyn wirth", "Evelin Wirth"),
    Query("laetizia piere", "Laetitia Pierre"),
    Query("vitcor bakstrom", "Victor Bäckström"),
    Query("annekathrin scheurman", "Annekatrin Scheuermann"),
    Query("saturnina baral", "Saturnina Barral"),
    Query("karlijn spandonk", "Karlijn van der Spaendonck"),
    Query("Elisabeth Macmillan", "Elizabeth Mcmillan"),
    Query("agnieska siarkievicz", "Agnieszka Siarkiewicz"),
    Query("kathrine andresen", "Katrine Andresen"),
    Query("tomas mitnik", "Tomasz Mytnik"),
    Query("sylvie navaro nakatomi", "sylvie.navarro@nakatomi.example.org"),
    Query("erzebet juhasz", "Erzsébet Juhász"),
    Query("simoneta morroco", "Simonetta Morrocco"),
    Query("atila magiar", "Attila Magyar"),
    Query("petruci antonino", "Antonino Petrucci"),
    Query("Todor Dyaconu", "Todor Diaconu"),
    Query("bradly coper", "Bradley Cooper"),
    Query("jake kuar", "Jake Kaur"),
    Query("camila guarrato", "Camilla Guarato"),
    Query("ilynca tabacu", "Ilinca Tabacu"),
    # Beginnings and initials.
    Query("concepcion camp", "Concepción Campos"),
    Query("luchino bar", "Luchino Barsanti"),
    Query("ildi szal", "Ildikó Szalai"),
    Query("sanur dum", "Sanur Dumanlı"),
    Query("virg duod", "Virgilio Duodo"),
    Query("m interminei", "Melissa Interminei"),
    Query("R. de Vroege", "Roos de Vroege"),
    Query("G. Luria", "Giustino Luria"),
    Query("adrianna c gringotts", "adrianna.ciesielka@gringotts.example.net"),
    Query("k wnuczek", "Kornel Wnuczek"),
    Query("horat eftim", "Horațiu Eftimie"),
    Query("evlin wir", "Evelin Wirth"),
    Query("annekatrin scheurm", "Annekatrin Scheuermann"),
    Query("janne c dunder", "janne1957@dunder.example.org"),
    # Spaces and signs left out or put in.
    Query("zararijks", "Zara Rijks"),
    Query("lesley oconnor", "Lesley O'Connor"),
    Query("albert o sullivan", "Albert O'Sullivan"),
    Query("britt marie nordgren", "Britt-Marie Nordgren"),
    Query("karlhans ackermann", "Karl-Hans Ackermann"),
    Query("corey mc grath", "Corey Mcgrath"),
    Query("le gall nath", "Nath Le Gall"),
    Query("mehmet berg", "Mehmet van den Berg"),
    Query("kramer hans d", "Hans D. Kramer"),
    Query("annemarie lindqvist", "Anne-Marie Lindqvist"),
    Query("anne marie lindquist", "Anne-Marie Lindqvist"),
    Query("maria isis mota", "Maria Isis da Mota"),
    Query("karlijn vd spaendonck", "Karlijn van der Spaendonck"),
    Query("Dr. Hanne Schultz", "Hanne Schultz"),
    Query("Mrs Julieta Sevillano", "Julieta Sevillano"),
    # Addresses: whole, mistyped, as one types, and by their parts.
    Query("EVELIN.WIRTH@globex.example.org", "evelin.wirth@globex.example.org"),
    Query("evelin.wirht@globex.example.org", "evelin.wirth@globex.example.org"),
    Query("dean1950@aperature.example.org", "dean1950@aperture.example.org"),
    Query("hancer.ayv", "hancer.ayvas@example.net"),
    Query("ali_rouk", "ali_roukes@example.org"),
    Query("msvensson@st", "msvensson@stark.example.org"),
    Query("jeremi1960", "jeremi1960@umbrella.example.net"),
    Query("tyrell biagio", "biagio.parri@tyrell.example.com"),
    Query("karlsson wayne sofie", "karlsson.sofie@wayne.example.org"),
    Query("lynx197 wayne", "crimson.lynx197@wayne.example.com"),
    Query("theaschou", "theaschou@wonka.example.com"),
    Query("theachou wonka", "theaschou@wonka.example.com"),
    Query("golden raven147", "golden.raven147@vandelay.example.org"),
    Query("black.otter386@umbrella", "black.otter386@umbrella.example.com"),
    Query("virgilio duodo vandelay.example.net", "virgilioduodo@vandelay.example.net"),
    Query("Kurt Knudsen <kurt_knudsen@nakatomi.example.com>", "kurt_knudsen@nakatomi.example.com"),
    Query("steven smith tyrell", "smith.steven@tyrell.example.org"),
    Query("smithsteven@tyrell.example.org", "smith.steven@tyrell.example.org"),
    Query("aurora.fabra@stark", "aurora_fabra@stark.example.org"),
    Query("golden lynx 871", "golden.lynx871@gringotts.example.net"),
    Query("crimson raven 208", "crimson.raven208@mail.example.com"),
    Query("antal szabo duff", "szabo.antal@duff.example.com"),
    Query("mojmir stepanek@post", "stepanek.mojmir@post.example.org"),
    # Other scripts, in the order and with the spaces that are usual there.
    Query("дерегус валентин", "Валентин Дерегус"),
    Query("Артем франко", "Артем Франко"),
    Query("денян сопаджиева", "Дениян Сопаджиева"),
    Query("θεοφανης κυριτσης", "Θεοφάνης Κυρίτσης"),
    Query("καρυοφυλλια σταθα", "Καρυοφυλλιά Σταθά"),
    Query("松田くみ子", "くみ子 松田"),
    Query("渡辺知実", "知実 渡辺"),
    Query("심정순", "정순 심"),
    Query("미경 김", "미경 김"),
    Query("कैलाश दुत्ता", "कैलाश दुत्ता"),
    Query("ทองสิริ ทัศน", "ทองสิริ ทัศนสุทธิ"),
    Query("חאלד טויטו", "ח'אלד טויטו"),
    Query("منير الحلواني", "مُنير الحلواني"),
    Query("حسين زارعي", "حسین زارعی"),
    Query("გოჩა კვინიკაძ", "გოჩა კვინიკაძე"),
    Query("լենա խոդիկյան", "Լենա Խոդիկյան"),
    Query("викторин мартинов", "Викторин Мартынов"),
    Query("олександр слюсарь", "Олександр Слюсар"),
    Query("αυγουστινα μαυρικάκι", "Αυγουστίνα Μαυρικάκης"),
    Query("מנחם ויינברג", "מנחם וינברג"),
    Query("محمد طلوعي", "محمد طلوعی"),
    Query("한지민", "지민 한"),
    Query("이영숙", "영숙 이"),
    Query("贾建平", "建平 贾"),
    Query("山下加奈", "加奈 山下"),
    Query("कल्पना चतुर्वेदि", "कल्पना चतुर्वेदी"),
    Query("อลิษา แน่นดุจ", "อลิษา แน่นดุจป้อม"),
)


@dataclass(frozen=True, slots=True)
class Miss:
    """A query whose first hit is somebody else; `found_at` is the place of who is meant, from 1."""

    query: Query
    first: str
    found_at: int | None


def hit_at_1(settings: Settings) -> float:
    """Return the share of the queries whose first hit is who is meant, on an index of its own."""
    with search_people_index(settings) as own:
        return 1 - len(misses(own)) / len(QUERIES)


def misses(settings: Settings) -> list[Miss]:
    """Ask every query of the index of `search_people_index`; return those that miss."""
    with UserSearch(settings) as search:
        asked = ((query, search.search_users(query.text)) for query in QUERIES)
        return [_miss(query, users) for query, users in asked if not _is_first(query, users)]


@contextmanager
def search_people_index(settings: Settings) -> Iterator[Settings]:
    """Give settings with a new prefix, where the 50,000 can be searched; removed at the end."""
    own = replace(settings, prefix=f"search-{secrets.token_hex(4)}")
    try:
        with closing(ElasticsearchVersions(own)) as versions:
            versions.begin()
            (version,) = versions.versions()
            with closing(versions.open(version.number)) as model:
                model.write(Batch(list(registrations()), {}))
                model.make_visible()
        yield own
    finally:
        remove_read_models(own)


def _is_first(query: Query, users: Sequence[dict[str, Any]]) -> bool:
    return bool(users) and query.means in (users[0]["name"], users[0]["email"])


def _miss(query: Query, users: Sequence[dict[str, Any]]) -> Miss:
    places = [n for n, user in enumerate(users, 1) if query.means in (user["name"], user["email"])]
    return Miss(query, users[0]["name"] if users else "nobody", min(places, default=None))
