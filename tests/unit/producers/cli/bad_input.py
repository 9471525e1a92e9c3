"""Bad input, how each command must refuse it, and the contract of a refusal."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO, TextIOWrapper
from typing import Any, NamedTuple

from scripts.cli import run

NOBODY = "0190f5d8-1c2e-7abc-8def-0123456789ab"
SECRET = "qsecretq"  # in every name and address below; it must never occur in a message
TEN_MEGABYTES = SECRET * (10_000_000 // len(SECRET))
NEW, CHANGE = ("users", "create", "-"), ("users", "update", NOBODY, "-")
MOVE, END = ("users", "change-email", NOBODY, "-"), ("users", "delete", NOBODY, "-")
ERASE = ("users", "erase", NOBODY, "-", "--yes")
OPTIONS = ("users", "create", "--email", f"{SECRET}@example.com", "--name", SECRET)
HEADER = b"email,name,age\n"


class Ended(NamedTuple):
    """The exit code of a command and everything it printed."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Case(NamedTuple):
    """One mistake, how the command must end, and what its message must name."""

    arguments: tuple[str, ...]
    exit_code: int
    code: str = "usage"
    stdin: bytes = b""
    environment: Mapping[str, str] = {}
    named: tuple[str, ...] = ()


def run_here(case: Case, options: tuple[str, ...], patched: Any, capfdbinary: Any) -> Ended:
    """Run a command line as `rollbook` does, but in this process: a hundred take seconds."""
    for name, value in case.environment.items():
        patched.setenv(name, value)
    patched.setattr(sys, "stdin", TextIOWrapper(BytesIO(case.stdin)))
    capfdbinary.readouterr()
    code = run([*case.arguments, *options])
    return Ended(code, *capfdbinary.readouterr())


def flaws(case: Case, go: Callable[..., Ended]) -> Iterator[str]:
    """Yield how a refusal breaks the contract."""
    try:
        ended, plain = go(case, "--json"), go(case)
    except Exception as raised:  # noqa: BLE001 - users would see a traceback
        yield f"raised {raised!r:.200}"
        return
    printed = ended.stderr.decode()
    if (ended.exit_code, plain.exit_code) != (case.exit_code, case.exit_code):
        yield f"ended with {ended.exit_code} and {plain.exit_code}: {printed}"
    if SECRET in (printed + plain.stderr.decode() + plain.stdout.decode()).lower():
        yield "repeats personal data"
    try:
        [error] = json.loads(printed).values()
    except ValueError:
        error = {}
    if list(error) != ["code", "message", "next"] or error["code"] != case.code:
        yield f"the error is {error}"
    missing = [name for name in case.named if name not in " ".join(error.values())]
    if missing:
        yield f"does not name {missing}: {error}"


def body(**fields: object) -> bytes:
    person = {"email": f"{SECRET}@example.com", "name": SECRET, "age": 34}
    return json.dumps(person | fields).encode()


def refused(*arguments: str, stdin: bytes = b"", named: str = "") -> Case:
    return Case(arguments, 3, "invalid_command", stdin, named=(named,))


def usage(*arguments: str, stdin: bytes = b"", named: str = "") -> Case:
    return Case(arguments, 2, "usage", stdin, named=(named,))


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
    *(refused(*MOVE, stdin=json.dumps({"email": email}).encode()) for email in EMAILS),
    *(usage(*line, stdin=text) for line in (MOVE, END, ERASE) for text in NO_OBJECT[2:10]),
    *(usage(*line, stdin=body()) for line in (MOVE, END, ERASE)),
    *(refused(*line, stdin=b'{"expected_version": 0}') for line in (MOVE, END, ERASE)),
    *(refused(*line, stdin=b'{"command_id": "two words"}') for line in (END, ERASE)),
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
    "users": ["remove"],
    f"users change-email {NOBODY} --email x@example.com --expected-version": ["0", "x"],
    "users change-email": [NOBODY],
    "users change-email --email x@example.com": NO_ID,
    f"users delete {NOBODY} --timeout": ["0", "nan"],
    f"users delete {NOBODY} --command-id": NO_COMMAND_ID,
    "users delete": NO_ID,
    "users erase": [*NO_ID, NOBODY],
    "users erase --yes": NO_ID,
    "users create --email x@example.com --name x": ["-", "--age=12.5", "--age=old"],
    "users create --email x@example.com --name x --age 3 --timeout": ["0", "-1", "x", "nan", "inf"],
    "users create --email x@example.com --name x --age 3 --command-id": NO_COMMAND_ID,
    "users get": NO_ID,
    f"users get {NOBODY} --at": ["yesterday"],
    f"users get {NOBODY} --at-version": ["0"],
    f"users get {NOBODY} --at-version 1 --at": ["10m"],
    "users history": NO_ID,
    f"users history {NOBODY} --from-version": ["0"],
    "users update --age 3": NO_ID,
    f"users update --age 3 {NOBODY} --expected-version": ["0", "-1", "x", "1.5"],
    "users update": [NOBODY],
    "users list --min-age": ["-1", "151", "x", "12.5", ""],
    "users list --min-age 9 --max-age": ["8", "-1", "151"],
    "users list --limit": ["0", "-1", "10001", "x"],
    "users list --after": ["", "x", "1", "1:0", "01:1", "1:1,", "4096:1", "\udcff"],
    "users list --cursor": ["", "x", "====", "é", "\udcff", "A" * 26],
    "users list": ["--nonsense"],
    "users export": ["missing/people.ndjson", "."],
    "users export - --min-age 9 --max-age": ["8"],
    "users search": ["", "   ", "!?", "x" * 301, "x " * 21, "\udcff"],
    "users search x --limit": ["0", "1001"],
    "users search x --min-age": ["151"],
    "users search x --min-age 40 --max-age": ["39"],
    "users search x --age-group": ["baby"],
    "users search x": ["--reverse"],
    "users search x --cursor": ["", "x"],
    "users search x --all": ["--facets"],
    "users suggest": ["", "!?"],
    "events tail --no-follow --user": NO_ID,
    "events tail --no-follow --limit": ["0"],
    "events tail --no-follow --from": ["", "yesterday", "10", "10x", "2026-13-01", "\udcff"],
    "projector run": ["mongodb", ""],
    "projector swap postgres": ["", "0", "x"],
    "projector drop": ["mongodb", "postgres"],
    "projector drop postgres": ["1", "x"],
    "commands show": NO_COMMAND_ID,
    "handler run": ["--instance"],
    "handler run --instance": ["", "../x", "a b", "x" * 300],
    "verify --timeout": ["-1", "x", "nan"],
}
INCOMPLETE = ("users search", "users search --highlight", "users suggest", "handler run")
LINES = [
    *(usage(*before.split(), last) for before, wrong in WRONG_LAST.items() for last in wrong),
    *(usage(*line.split()) for line in INCOMPLETE),
    usage(*OPTIONS),
    usage(*NEW, "--name", SECRET, stdin=body(), named="not both"),
    usage(*NEW, "--command-id", "a", stdin=body(command_id="b"), named="different values"),
    usage(*NEW, "--wait", "postgres,", stdin=body(), named="by commas"),
    *(
        Case(line, 2, "unknown_read_model", body(), named=("mongodb",))
        for line in ((*NEW, "--wait", "mongodb"), ("projector", "rebuild", "mongodb"))
    ),
]
# What the message says.
MESSAGES = [
    usage("users", "create", named="give --email, --name and --age"),
    usage("users", "create", "--email", "a@example.com", "--name", "A", named="give --email"),
    usage("users", "create", "file.json", named="file.json"),
    usage("users", "update", NOBODY, named="nothing to update"),
    usage("users", "update", NOBODY, "--expected-version", "3", named="nothing to update"),
    usage("users", "update", "nobody", "--age", "3", named="not a UUID"),
    usage("users", "change-email", NOBODY, named="give --email"),
    usage(*MOVE, "--email", "a@example.com", stdin=b"{}", named="not both"),
    usage(*END, "--expected-version", "2", stdin=b"{}", named="not both"),
    usage("users", "erase", NOBODY, named="--yes"),
    usage("users", "erase", NOBODY, "-", stdin=b"{}", named="--yes"),
    usage("commands", "show", "two words", named="command id"),
    usage("users", "import", ".", named="directory"),
    usage("users", "import", "none.csv", named="does not exist"),
    usage("users", "import", "-", "--in-flight", "0", named="--in-flight"),
    usage("users", "import", "-", "--dry-run", "--wait", "postgres", named="nothing to wait for"),
    usage(*NEW, named="empty"),
    usage(*NEW, stdin=b"{", named="valid JSON"),
    usage(*NEW, stdin=b"[]", named="not an object"),
    usage(*NEW, stdin=body(nickname=SECRET), named="a field other than"),
    usage(*NEW, stdin=b" " * (16 * 1024 * 1024 + 1), named="16 MiB"),
    usage(*CHANGE, stdin=b"{}", named="nothing to update"),
    refused(*NEW, stdin=body(age=None), named="age"),
    refused(*NEW, stdin=body(name=5), named="name"),
    refused(*NEW, stdin=body(email=f"{SECRET}@@example.com"), named="e-mail"),
    refused(*CHANGE, stdin=b'{"age": 3, "expected_version": "2"}', named="expected version"),
    refused(*CHANGE, stdin=json.dumps({"name": TEN_MEGABYTES}).encode(), named="longer than 200"),
    refused(*MOVE, stdin=b"{}", named="e-mail"),
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
    b"partitions = [1]": "partitions",
    b"\0": "",
    b"log_format = ": "",
    b"\xff\xfe": "",
}
