"""CSV and NDJSON lines become users or bad lines with the right numbers."""

from io import BytesIO

import pytest

from producers.importer.csv_lines import RECORD_MAX_LINES
from producers.importer.lines import read_users
from producers.importer.source import LINE_MAX_BYTES, Source
from producers.importer.user_line import BadLine, UserLine
from schemas.errors import Misconfigured

HEADER = b"email,name,age\n"
JANE = b"jane@example.com,Jane,34\n"


def read(content: bytes, file_format: str | None = None) -> list[UserLine | BadLine]:
    return list(read_users(Source(BytesIO(content)), file_format))


def good(content: bytes) -> list[tuple[object, ...]]:
    return [tuple(line) for line in read(content) if isinstance(line, UserLine)]


def bad(content: bytes, file_format: str | None = None) -> list[tuple[int, str]]:
    lines = read(content, file_format)
    return [(line.number, line.code) for line in lines if isinstance(line, BadLine)]


def test_csv_and_ndjson_give_the_same_users() -> None:
    as_json = b'{"email": "jane@example.com", "name": "Jane", "age": 34}\n'
    assert read(HEADER + JANE) == [UserLine(2, "jane@example.com", "Jane", 34)]
    assert read(as_json) == [UserLine(1, "jane@example.com", "Jane", 34)]


def test_columns_may_be_in_any_order_after_a_byte_order_mark() -> None:
    """Spreadsheets write such files."""
    content = b'\xef\xbb\xbfAge, Name,EMAIL\r\n34,"Doe, ""J""",j@example.com\r\n'
    assert good(content) == [(2, "j@example.com", 'Doe, "J"', 34)]


def test_blank_lines_are_skipped_but_counted_in_line_numbers() -> None:
    """Numbers are those that an editor shows."""
    assert good(HEADER + b"\n\n" + JANE) == [(4, "jane@example.com", "Jane", 34)]


def test_a_field_over_several_lines_has_the_number_of_its_first_line() -> None:
    """The lines after it keep theirs."""
    lines = good(HEADER + b'a@example.com,"A\nB",1\n' + JANE)
    assert lines == [(2, "a@example.com", "A\nB", 1), (4, "jane@example.com", "Jane", 34)]


@pytest.mark.parametrize(
    "line",
    [
        b"a@example.com,A\n",
        b"a@example.com,A,1,more\n",
        b"a@example.com,A,1,,more\n",
        b'a@example.com,"A"B,1\n',
        b'a@example.com,"never closed,1\n',
        b'a@example.com,"never closed,1\n' + b'"\n',
        b"a@example.com,A\rB,1\n",
    ],
)
def test_a_malformed_line_is_bad_and_the_next_is_read(line: bytes) -> None:
    """A bad line never affects others, not even by a quote that is never closed."""
    content = HEADER + line + JANE * (RECORD_MAX_LINES + 5)
    assert bad(content)[0] == (2, "malformed_line")
    assert len(good(content)) == RECORD_MAX_LINES + 5


def test_an_open_quote_at_the_end_affects_only_its_own_line() -> None:
    """The lines that its field had consumed are read again."""
    content = HEADER + b'a@example.com,"A,1\n' + JANE + JANE
    assert bad(content) == [(2, "malformed_line")]
    assert len(good(content)) == 2


def test_bytes_that_are_not_utf8_affect_only_their_line() -> None:
    """In both formats."""
    as_json = b'{"email":"a@example.com","name":"\xff","age":1}\n{}\n'
    assert bad(HEADER + b"a@example.com,\xff\xfe,1\n" + JANE) == [(2, "not_utf8")]
    assert bad(as_json) == [(1, "not_utf8")]


def test_a_line_of_ten_megabytes_is_bad_and_not_kept_in_memory() -> None:
    """Memory is bounded by the maximum length of a line."""
    huge = b"a@example.com," + b"x" * 10_000_000 + b",1\n"
    assert bad(HEADER + huge + JANE) == [(2, "line_too_long")]
    assert bad(HEADER + b'b@example.com,"B\n' + huge + JANE) == [
        (2, "malformed_line"),
        (3, "line_too_long"),
    ]
    assert bad(b'{"email": "' + b"x" * LINE_MAX_BYTES + b'"}\n', "ndjson") == [(1, "line_too_long")]
    assert good(HEADER + huge + JANE) == [(3, "jane@example.com", "Jane", 34)]


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (b" 34 ", 34),
        (b"-1", -1),
        (b"034", 34),
        (b"12.5", "12.5"),
        (b"1_0", "1_0"),
        (b"", ""),
        ("٣٤".encode(), "٣٤"),
    ],
)
def test_an_age_is_a_number_only_if_it_is_written_as_one(age: bytes, expected: object) -> None:
    """Anything else stays text, which the rules reject."""
    assert good(HEADER + b"a@example.com,A," + age + b"\n")[0][3] == expected


def test_an_age_of_a_million_digits_is_out_of_range_and_cheap() -> None:
    """Python itself refuses to convert such a number."""
    age = good(HEADER + b"a@example.com,A," + b"9" * 60_000 + b"\n")[0][3]
    assert isinstance(age, int)
    assert age > 150


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"[1]", "malformed_line"),
        (b"{x", "malformed_line"),
        (b'{"email":"a@example.com"} {}', "malformed_line"),
        (b'{"email":"\\ud800"}', "malformed_line"),
        (b'{"email":"a@example.com","name":"A","age":1,"mail":2}', "unknown_field"),
    ],
)
def test_a_line_that_is_not_an_object_of_the_three_fields_is_bad(line: bytes, code: str) -> None:
    """Each kind has its own code."""
    assert bad(b'{"age": 1}\n' + line + b"\n") == [(2, code)]


def test_the_other_fields_of_an_export_are_ignored() -> None:
    """The log assigns ids, versions and times; email, name and age are read."""
    line = (
        b'{"user_id":"0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90","email":"a@example.com","name":"A",'
        b'"age":1,"version":7,"created_at":"x","updated_at":"x","age_group":"teen","cursor":"x"}\n'
    )
    assert good(line) == [(1, "a@example.com", "A", 1)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n \n",
        b"email,name\n",
        b"email;name,age\n",
        b"email,name,age,Age\n",
        b"sep=;\nemail,name,age\n",
        b"sep=;\n",
        b"jane@example.com,Jane,34\n",
        b"[\n",
        HEADER.decode().encode("utf-16"),
        b"PK\x03\x04\0\0",
        b"x" * 100_000,
    ],
)
def test_a_file_of_another_kind_is_refused_at_once(content: bytes) -> None:
    """Before anything is sent."""
    with pytest.raises(Misconfigured):
        read_users(Source(BytesIO(content)), None)


def test_the_source_reports_how_many_bytes_were_read() -> None:
    """The progress bar ends at the size of the file."""
    content = b"\xef\xbb\xbf" + HEADER + JANE + b"x" * 200_000
    source = Source(BytesIO(content))
    assert len(list(read_users(source, None))) == 2
    assert source.bytes_read == len(content)
