"""What people and strangers get wrong: a clear refusal each time, nothing stuck, nothing told."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scripts.cli import run
from tests.processes import Rollbook, RunningProcess

NOBODY = "0190f5d8-1c2e-7abc-8def-0123456789ab"
SECRET = "qsecretq"  # in every name and address given here, and never in what is told of them
TEN_MEGABYTES = SECRET * (10_000_000 // len(SECRET))
NEW, CHANGE = ("users", "create", "-"), ("users", "update", NOBODY, "-")
OPTIONS = ("users", "create", "--email", f"{SECRET}@example.com", "--name", SECRET)
HEADER = b"email,name,age\n"


class Case(NamedTuple):
    """One thing got wrong, how the command must end, and what its message must name."""

    arguments: tuple[str, ...]
    exit_code: int
    code: str = "usage"
    stdin: bytes = b""
    environment: Mapping[str, str] = {}
    named: tuple[str, ...] = ()


def body(**fields: object) -> bytes:
    person = {"email": f"{SECRET}@example.com", "name": SECRET, "age": 34}
    return json.dumps(person | fields).encode()


def refused(*arguments: str, stdin: bytes = b"") -> Case:
    return Case(arguments, 3, "invalid_command", stdin)


def usage(*arguments: str, stdin: bytes = b"") -> Case:
    return Case(arguments, 2, "usage", stdin)


def setting(name: str, value: str, *arguments: str) -> Case:
    variable = f"ROLLBOOK_{name}"
    line = arguments or ("topics", "ensure")
    return Case(line, 2, "bad_setting", b"", {variable: value}, (name.lower(), variable))


EMAILS = ["", SECRET, f"{SECRET}@", f"@{SECRET}.com", f"{SECRET}@@example.com", f"{SECRET}@example",
          f"{SECRET} x@a.com", f"{SECRET}\0@a.com", f"{SECRET}@a.com\nx", "\u202e@a.com",
          f"{SECRET}@{'x' * 300}.com", TEN_MEGABYTES, None, 7, [SECRET]]  # fmt: skip
NAMES = ["", "   ", "\u00a0\u2003", f"{SECRET}\x07", f"{SECRET}\nx", f"{SECRET}\0",
         f"\u202e{SECRET}", SECRET * 26, TEN_MEGABYTES, None, 7, {"a": SECRET}]  # fmt: skip
AGES = [-1, 151, 10**30, 12.5, 34.0, "34", True, None, [34]]
NO_OBJECT = [b"", b"  ", b"{", body() + body(), body() + b"\n" + body(), b"[]", b'"x"', b"\xff\xfe",
             body() + b"\xff", body(nickname=SECRET), b'{"name": "\\ud800"}', b'{"age": NaN}',
             b" " * (17 * 1024 * 1024)]  # fmt: skip
FIELDS = [
    *(refused(*NEW, stdin=body(email=email)) for email in EMAILS),
    *(refused(*NEW, stdin=body(name=name)) for name in NAMES),
    *(refused(*NEW, stdin=body(age=age)) for age in AGES),
    *(usage(*NEW, stdin=text) for text in NO_OBJECT),
    *(usage(*CHANGE, stdin=text) for text in NO_OBJECT),
    *(refused(*CHANGE, stdin=json.dumps({"name": n}).encode()) for n in NAMES if n is not None),
    *(refused(*CHANGE, stdin=json.dumps({"age": age}).encode()) for age in AGES if age is not None),
    *(
        refused(*CHANGE, stdin=json.dumps({"age": 3, "expected_version": version}).encode())
        for version in (0, -1, 1.5, "1", True, 2**63)
    ),
    refused(*NEW, stdin=body(command_id="two words")),
    refused(*NEW, stdin=body(command_id=7)),
    refused(*NEW, stdin=b"{}"),
    usage(*CHANGE, stdin=b"{}"),
    usage(*CHANGE, stdin=b'{"email": "x@example.com"}'),
    refused(*OPTIONS, "--age", "151"),
    refused(*OPTIONS, "--age", "-1"),
    refused(*OPTIONS[:-1], "\udcff", "--age", "3"),
    refused(*OPTIONS[:3], f"{SECRET}\udcff@example.com", *OPTIONS[4:], "--age", "3"),
]
NO_ID = ["", "jane", NOBODY[:-1], f"{{{NOBODY}}}", NOBODY.replace("0", "٠"), "\udcff"]
NO_COMMAND_ID = ["", "two words", "x" * 65, "\udcff"]
WRONG_LAST = {
    "": ["nonsense"],
    "users": ["delete"],
    "users create --email x@example.com --name x": ["-", "--age=12.5", "--age=old"],
    "users create --email x@example.com --name x --age 3 --timeout": ["0", "-1", "x", "nan", "inf"],
    "users create --email x@example.com --name x --age 3 --command-id": NO_COMMAND_ID,
    "users get": NO_ID,
    "users update --age 3": NO_ID,
    f"users update --age 3 {NOBODY} --expected-version": ["0", "-1", "x", "1.5"],
    "users update": [NOBODY],
    "users list --min-age": ["-1", "151", "x", "12.5", ""],
    "users list --min-age 9 --max-age": ["8", "-1", "151"],
    "users list --limit": ["0", "-1", "10001", "x"],
    "users list --after": ["", "x", "====", "é", "\udcff", "A" * 26],
    "users list": ["--nonsense"],
    "users search": ["", "   ", "!?", "x" * 301, "x " * 21, "\udcff"],
    "users search x --limit": ["0", "1001"],
    "events tail --no-follow --user": NO_ID,
    "events tail --no-follow --limit": ["0"],
    "events tail --no-follow --from": ["", "yesterday", "10", "10x", "2026-13-01", "\udcff"],
    "projector run": ["mongodb", ""],
    "projector reset": ["mongodb", "postgres"],
    "commands show": NO_COMMAND_ID,
    "handler run": ["--instance"],
    "handler run --instance": ["", "../x", "a b", "x" * 300],
    "verify --timeout": ["-1", "x", "nan"],
}
LINES = [
    *(usage(*before.split(), last) for before, wrong in WRONG_LAST.items() for last in wrong),
    *(usage(*line) for line in (("users", "search"), ("handler", "run"), OPTIONS)),
    usage(*NEW, "--name", SECRET, stdin=body()),
    usage(*NEW, "--command-id", "a", stdin=body(command_id="b")),
]
SETTINGS = [
    *(setting("PARTITIONS", value) for value in ("", "x", "0", "-1", "4097", "1.5")),
    *(setting("SESSION_TIMEOUT_SECONDS", value) for value in ("x", "0", "-1", "nan", "inf")),
    setting("PREFIX", "Bad_"),
    setting("LOG_FORMAT", "xml"),
    setting("REPLICATION_FACTOR", "0"),
    setting("KAFKA_SECURITY_PROTOCOL", "bogus"),
    setting("KAFKA_SECURITY_PROTOCOL", "bogus", "commands", "show", "x"),
    setting("KAFKA_SASL_MECHANISM", "bogus"),
    setting("KAFKA_BOOTSTRAP_SERVERS", ""),
    setting("REGISTRY_URL", "nonsense"),
    setting("ELASTICSEARCH_URL", "nonsense", "users", "search", "x"),
    setting("POSTGRES_URL", "nonsense", "users", "summary"),
    Case(("users", "summary"), 2, "bad_setting", b"", {"ROLLBOOK_CONFIG": "/n"}, ("/n", "CONFIG")),
    Case(("--config", "/n", "users", "summary"), 2, "bad_setting", named=("/n", "--config")),
    Case(("--config", "/", "users", "summary"), 2, "bad_setting", named=("--config",)),
    Case(("--config", "x" * 5000, "users", "summary"), 2, "bad_setting"),
]
FILES = {
    b"batch_command = 8": "batch_command",
    b"batch_commands = true": "batch_commands",
    b'batch_commands = "many"': "batch_commands",
    b"batch_commands = 0": "batch_commands",
    b"log_format = 7": "log_format",
    b"log_format = ": "",
    b"\xff\xfe": "",
}


class Ended(NamedTuple):
    """How a command ended and all it said."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@pytest.fixture
def here(
    rollbook: Rollbook, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> Callable[[Case], Ended]:
    """Run a command line as `rollbook` does, but in this process: a hundred in a few seconds.

    An error that nobody expected, which people would see as a traceback, fails the test.
    """

    def go(case: Case, *options: str) -> Ended:
        with monkeypatch.context() as patched:
            patched.chdir(rollbook.directory)
            for name, value in {**rollbook.environment(), **case.environment}.items():
                patched.setenv(name, value)
            patched.setattr(sys, "stdin", TextIOWrapper(BytesIO(case.stdin)))
            capfdbinary.readouterr()
            code = run([*case.arguments, *options])
            return Ended(code, *capfdbinary.readouterr())

    return go


def flaws(case: Case, go: Callable[..., Ended]) -> Iterator[str]:
    """Yield what a refusal does not keep of the contract."""
    try:
        ended, said = go(case, "--json"), go(case)
    except Exception as raised:  # noqa: BLE001 - any of them would be a traceback
        yield f"raised {raised!r:.200}"
        return
    told = ended.stderr.decode()
    if (ended.exit_code, said.exit_code) != (case.exit_code, case.exit_code):
        yield f"ended with {ended.exit_code} and {said.exit_code}: {told + said.stderr.decode()}"
    if SECRET in (told + said.stderr.decode() + said.stdout.decode()).lower():
        yield "repeats personal data"
    try:
        [error] = json.loads(told).values()
    except ValueError:
        error = {}
    if list(error) != ["code", "message", "next"] or error["code"] != case.code:
        yield f"is told as {error}"
    missing = [name for name in case.named if name not in " ".join(error.values())]
    if missing:
        yield f"does not name {missing}: {error}"


@pytest.mark.parametrize("cases", [FIELDS, LINES, SETTINGS], ids=["fields", "lines", "settings"])
def test_what_is_wrong_at_the_edge_is_refused_at_once(
    cases: list[Case], here: Callable[..., Ended]
) -> None:
    """The right exit code and one JSON document, no traceback, and not a word of who it was."""
    found = [
        f"{[a[:40] for a in case.arguments]} {case.stdin[:60]!r} {case.environment}: {flaw}"
        for case in cases
        for flaw in flaws(case, here)
    ]
    assert not found, "\n".join(found)


def test_a_bad_file_of_settings_is_refused_by_name(
    here: Callable[..., Ended], tmp_path: Path
) -> None:
    """Exit 2, naming the file and, where there is one, the setting."""
    for number, (content, name) in enumerate(FILES.items()):
        file = tmp_path / f"{number}.toml"
        file.write_bytes(content)
        line = ("--config", str(file), "config", "show")
        case = Case(line, 2, "bad_setting", b"", {}, (str(file), name))
        assert list(flaws(case, here)) == [], content


def test_what_only_the_handler_can_refuse_is_told_with_its_outcome(
    handler: RunningProcess, rollbook: Rollbook, here: Callable[..., Ended]
) -> None:
    """Under --json the outcome stands on stdout, the reason with a next step on stderr."""
    user_id = rollbook.json(*NEW, stdin=body(command_id="used"))["user_id"]
    twice = body(email=f"{SECRET.upper()}@EXAMPLE.com")
    conflict = b'{"age": 5, "expected_version": 7}'
    update = ("users", "update", user_id)
    for case, holder in (
        (Case(NEW, 3, "user_already_exists", twice, named=(user_id,)), user_id),
        (Case(NEW, 3, "command_id_reused", body(age=9, command_id="used")), None),
        (Case(CHANGE, 3, "user_not_found", b'{"age": 5}'), None),
        (Case((*update, "-"), 3, "version_conflict", conflict, named=("version 1",)), user_id),
        (Case((*update, "--age", "5", "--expected-version", "7"), 3, "version_conflict"), user_id),
    ):
        assert list(flaws(case, here)) == []
        outcome = json.loads(here(case, "--json").stdout)
        assert (outcome["status"], outcome["code"]) == ("rejected", case.code)
        assert outcome["user_id"] == holder
    unknown = Case(("commands", "show", "never-sent"), 3, "command_not_found")
    assert list(flaws(unknown, here)) == []
    again = json.loads(rollbook.run("users", "update", user_id, "--age", "34", "--json").stdout)
    assert (again["status"], again["version"]) == ("accepted", 1)


def test_an_import_lists_bad_lines_without_their_content(
    handler: RunningProcess, rollbook: Rollbook, tmp_path: Path
) -> None:
    """Line, code and sentence of each; good ones between them are imported."""
    bad = {
        f"{SECRET}@@example.com,{SECRET},1": "invalid_command",
        f"{SECRET}@example.com,{SECRET},151": "invalid_command",
        f"{SECRET}@example.com,{SECRET},-1": "invalid_command",
        f"{SECRET}@example.com,{SECRET},12.5": "invalid_command",
        f"{SECRET}@example.com,{SECRET},": "invalid_command",
        f"{SECRET}@example.com,   ,1": "invalid_command",
        f"{SECRET}@example.com,{SECRET}\x07,1": "invalid_command",
        f"{SECRET}@example.com,{SECRET}": "malformed_line",
        f"{SECRET}@example.com,{SECRET},1,1": "malformed_line",
        f'{SECRET}@example.com,"{SECRET},1': "malformed_line",
        f"{SECRET}@example.com,{TEN_MEGABYTES},1": "line_too_long",
        f'{SECRET}@example.com,"{TEN_MEGABYTES}",1': "line_too_long",
        f"{SECRET}@example.com,{SECRET}\udcff,1": "not_utf8",
    }
    lines = [line for number, it in enumerate(bad) for line in (it, f"ok{number}@example.com,A,1")]
    file = tmp_path / "people.csv"
    file.write_bytes(HEADER + "\n".join(lines).encode(errors="surrogateescape"))
    done = rollbook.run("users", "import", str(file), "--json")
    rejects = (tmp_path / "people.csv.rejects.ndjson").read_text(encoding="utf-8")
    listed = [json.loads(line) for line in rejects.splitlines()]
    assert [(one["line"], one["code"]) for one in listed] == [
        (2 * number + 2, code) for number, code in enumerate(bad.values())
    ]
    totals = json.loads(done.stdout)
    assert (totals["created"], totals["rejected"]) == (len(bad), len(bad))
    assert (done.returncode, json.loads(done.stderr)["error"]["code"]) == (3, "import_rejects")
    assert SECRET not in rejects + done.stdout + done.stderr + handler.text()


@pytest.mark.parametrize(
    ("content", "options"),
    [(b"", ()), (b"e-mail;name\n", ()), (b"[]", ()), (b"\xff\xfee\0", ()), (b"\0\0", ()),
     (HEADER, ("--rejects", "/n/x")), (HEADER, ("--format", "xml")), (HEADER, ("--in-flight", "0")),
     (HEADER, ("--timeout", "nan"))],
)  # fmt: skip
def test_what_is_no_table_of_people_is_refused_whole(
    here: Callable[..., Ended], tmp_path: Path, content: bytes, options: tuple[str, ...]
) -> None:
    """Exit 2 before anything is sent."""
    file = tmp_path / "people.csv"
    file.write_bytes(content)
    code = "usage" if options else "unreadable_file"
    assert list(flaws(Case(("users", "import", str(file), *options), 2, code), here)) == []
    for nowhere in (tmp_path, tmp_path / "none"):
        assert list(flaws(usage("users", "import", str(nowhere)), here)) == []
