"""CSV as people have it: what is unambiguous is accepted, and what is not is named."""

from io import BytesIO

import pytest

from producers.importer.lines import read_users
from producers.importer.source import Source
from producers.importer.user_line import BadLine, UserLine
from schemas.errors import Misconfigured

JANE = ("jane@example.com", "Jane", 34)


def read(content: bytes) -> list[UserLine | BadLine]:
    return list(read_users(Source(BytesIO(content)), None))


@pytest.mark.parametrize(
    "content",
    [
        b"email;name;age\njane@example.com;Jane;34\n",
        b"email\tname\tage\njane@example.com\tJane\t34\n",
        b"email|name|age\njane@example.com|Jane|34\n",
        b"sep=;\r\nemail;name;age\r\njane@example.com;Jane;34\r\n",
        b'\xef\xbb\xbf"sep=\t"\nemail\tname\tage\njane@example.com\tJane\t34\n',
        b"sep=,\n\nemail,name,age\njane@example.com,Jane,34\n",
        b"email,name,age\rjane@example.com,Jane,34\r",
        b"email,name,age\rjane@example.com,Jane,34",
        b"\n\r\n  \nemail,name,age\njane@example.com,Jane,34\n",
        b"city,Email, AGE ,name,\nX,jane@example.com,34,Jane,\n",
        b"email,name,age,,\njane@example.com,Jane,34\n",
        b"email,name,age\njane@example.com,Jane,34,,\n",
        b"email,name,age\n,,\njane@example.com,Jane,34\n,,\n",
        b"email,name,age\njane@example.com,Jane,34.0\n",
        b'email;name;age\n"jane@example.com";"Jane";"34,00"\n',
        b"email,name,age\njane@example.com,Jane,+34\n",
        (
            b"user_id\tname\temail\tage\tgroup\tupdated\tversion\n"
            b"0198c2d4\tJane\tjane@example.com\t34\tadult\tx\t1\n"
        ),
        b'{"email":"jane@example.com","name":"Jane","age":34.0}\n',
        b'\n{"email":"jane@example.com","name":"Jane","age":34}\n',
    ],
)
def test_what_is_unambiguous_is_accepted(content: bytes) -> None:
    """The last two columns but one are those of `users list`."""
    assert [tuple(line)[1:] for line in read(content) if isinstance(line, UserLine)] == [JANE]
    assert not any(isinstance(line, BadLine) for line in read(content))


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"email,name", "no column called age"),
        (b"email,name,age,Email", "more than one column called email"),
        (b"jane@example.com,Jane,34", "none of the columns"),
        (b"sep=;\nemail,name,age", "none of the columns"),
        (b"email,n\xe4me,age", "not UTF-8"),
        (b'email,name,"age', "none of the columns"),
    ],
)
def test_a_header_is_refused_with_its_reason(header: bytes, problem: str) -> None:
    """The message repeats nothing of the file, which may have no header but a person."""
    with pytest.raises(Misconfigured, match=problem) as refused:
        read(header + b"\n")
    assert refused.value.code == "unreadable_file"
    assert "jane@example.com" not in str(refused.value)


@pytest.mark.parametrize(
    ("row", "age"),
    [(b"a;A;34.5", "34.5"), (b"a;A;34,5", "34,5"), (b"a;A;1e1", "1e1"), (b"a;A;34.", "34.")],
)
def test_an_age_that_is_no_whole_number_stays_text(row: bytes, age: str) -> None:
    """The rules reject it."""
    assert read(b"email;name;age\n" + row) == [UserLine(2, "a", "A", age)]


def test_line_numbers_are_those_of_an_editor() -> None:
    """Also after blank lines, a separator line, and with CR alone."""
    assert [line.number for line in read(b"\nsep=;\n\nemail;name;age\na;A;1\n;;\nb;B\n")] == [5, 7]
    assert [line.number for line in read(b"email,name,age\ra,A,1\r\rb,B\r")] == [2, 4]


@pytest.mark.parametrize("size", [1, 2, 15, 16])
def test_line_ends_are_recognised_across_reads(size: int) -> None:
    """A pipe may deliver a CR and its LF separately."""

    class Pieces(BytesIO):
        def read1(self, most: int | None = -1) -> bytes:
            return super().read1(min(size, most or size))

    for end in (b"\r", b"\n", b"\r\n"):
        content = end.join([b"email,name,age", b"a,A,1", b"b,B,2", b""])
        users = list(read_users(Source(Pieces(content)), None))
        assert users == [UserLine(2, "a", "A", 1), UserLine(3, "b", "B", 2)]
