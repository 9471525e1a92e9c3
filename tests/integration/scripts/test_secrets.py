"""No command and no process shows a secret, however a login fails and wherever the secret is.

What the running processes of a registry print is searched in `test_personal_data`.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

import httpx2
import psutil

from runtime.settings import Settings
from scripts.stack.native.local import LocalStack
from scripts.stack.record import read_record
from tests.depth import DEEP
from tests.integration.quoting import LOUD, ROOT, echo_server
from tests.integration.scripts.sentinel_system import PASSWORD, password_files
from tests.samples.sentinels import found_in, found_in_process
from tests.started.processes import ROLLBOOK, Rollbook
from tests.started.services import address_of

USER: Final = "qu/serq"
KEY: Final = "cWFwaXE6cWtleXE="
API_KEY: Final = {"ROLLBOOK_ELASTICSEARCH_API_KEY": KEY}
LOGINS: Final = {
    f"ROLLBOOK_{server}_{what}": value
    for server in ("REGISTRY", "ELASTICSEARCH")
    for what, value in (("USERNAME", USER), ("PASSWORD", PASSWORD))
}
OAUTH: Final = {
    "ROLLBOOK_KAFKA_SECURITY_PROTOCOL": "sasl_plaintext",
    "ROLLBOOK_KAFKA_SASL_MECHANISM": "OAUTHBEARER",
    "ROLLBOOK_KAFKA_OAUTH_CLIENT_ID": "app",
    "ROLLBOOK_KAFKA_OAUTH_CLIENT_SECRET": PASSWORD,
}
SASL: Final = {
    "ROLLBOOK_KAFKA_SECURITY_PROTOCOL": "sasl_plaintext",
    "ROLLBOOK_KAFKA_SASL_MECHANISM": "PLAIN",
    "ROLLBOOK_KAFKA_SASL_USERNAME": USER,
    "ROLLBOOK_KAFKA_SASL_PASSWORD": PASSWORD,
}
LIST: Final = ("users", "list", "--json")
SEARCH: Final = ("users", "search", "jane", "--json")
ENSURE: Final = ("topics", "ensure", "--json")
STATUS: Final = ("projector", "status", "--json")


class Failure(NamedTuple):
    """A command that fails, or says what the settings are; `code` is that of its error."""

    command: tuple[str, ...]
    overrides: Mapping[str, str]
    code: str = ""


class Servers(NamedTuple):
    """URLs of servers that quote what they are asked; `moved` sends its callers to another."""

    echo: str
    refusing: str
    moved: str


def failures(settings: Settings, servers: Servers, file: Path) -> Iterator[Failure]:
    """Yield commands with a secret wherever one can be: right, wrong, or in a wrong place."""
    address = urlsplit(settings.postgres_url).netloc.rpartition("@")[2]
    in_url = f"{quote(USER, '')}:{quote(PASSWORD, '')}"
    postgres = {"ROLLBOOK_POSTGRES_URL": f"postgresql://{in_url}@{address}/rollbook"}
    yield Failure(LIST, postgres, "postgres_forbidden")
    yield Failure(STATUS, SASL, "kafka_forbidden")
    oauth = {**OAUTH, "ROLLBOOK_KAFKA_OAUTH_TOKEN_URL": servers.refusing}
    yield Failure(STATUS, oauth, "kafka_forbidden")
    for url, search, schemas in (
        (servers.echo, "elasticsearch_refused", "registry_refused"),
        (servers.refusing, "elasticsearch_forbidden", "registry_forbidden"),
        (servers.moved, "(status 302)", "(status 302)"),
    ):
        yield Failure(SEARCH, {**LOGINS, "ROLLBOOK_ELASTICSEARCH_URL": url}, search)
        yield Failure(ENSURE, {**LOGINS, "ROLLBOOK_REGISTRY_URL": url}, schemas)
    unexpected = {"ROLLBOOK_READ_MODELS": LOUD, "PYTHONPATH": str(ROOT), **LOGINS}
    yield Failure(STATUS, unexpected, "unexpectedly")
    yield Failure(("config", "show"), SASL | LOGINS | postgres)
    yield Failure(("doctor",), LOGINS | postgres)
    if DEEP:
        yield from wrong_settings(address, file)
        for command in (("config", "show", "--json"), ("acl", "show"), ("acl", "show", "--json")):
            yield Failure(command, SASL | LOGINS | postgres)
        yield Failure(("doctor", "--json"), SASL)
        for url in (servers.echo, servers.refusing):
            yield Failure(SEARCH, {**API_KEY, "ROLLBOOK_ELASTICSEARCH_URL": url}, "elasticsearch_")


def wrong_settings(address: str, file: Path) -> Iterator[Failure]:
    """Yield commands whose settings have a secret in a wrong place."""
    for wrong in (
        {"ROLLBOOK_CONFIG": str(file)},
        {"ROLLBOOK_KAFKA_SASL_PASSWORD_FILE": PASSWORD},
        {"ROLLBOOK_POSTGRES_URL": f"postgresql://u:{PASSWORD}@{address}/rollbook"},
        {"ROLLBOOK_PARTITIONS": PASSWORD},
        {"ROLLBOOK_KAFKA_OPTIONS": PASSWORD},
        {"ROLLBOOK_KAFKA_OPTIONS": f"sasl.password={PASSWORD}"},
        {"ROLLBOOK_KAFKA_OPTIONS": f"linger.ms={PASSWORD}"},
        LOGINS | API_KEY,
    ):
        yield Failure(LIST, wrong, "bad_setting")


def test_no_command_quotes_a_secret(settings: Settings, rollbook: Rollbook, tmp_path: Path) -> None:
    """Not of any server, nor in a place where it does not belong."""
    file = tmp_path / "broken.toml"
    file.write_text(f'kafka_sasl_password = "{PASSWORD}\n', encoding="utf-8")

    def run(failure: Failure) -> str:
        own = replace(rollbook, overrides={**rollbook.overrides, **failure.overrides})
        done = own.run(*failure.command)
        printed = done.stdout + done.stderr
        assert failure.code in printed, (failure.command, printed)
        return printed

    with (
        echo_server() as echo,
        echo_server(401) as refusing,
        echo_server(302, f"{echo}/elsewhere") as moved,
        ThreadPoolExecutor(4) as together,
    ):
        cases = list(failures(settings, Servers(echo, refusing, moved), file))
        for case, printed in zip(cases, together.map(run, cases), strict=True):
            assert not found_in(printed, [PASSWORD, KEY]), (case.command, printed)


def test_no_process_shows_a_secret_that_is_in_a_file(rollbook: Rollbook, tmp_path: Path) -> None:
    """Nor do those that it starts: its other processes, and one for each job."""
    rollbook.overrides |= password_files(tmp_path)
    handler = rollbook.start_program(
        *(ROLLBOOK, "handler", "run", "--instance", "a", "--processes", "2")
    )
    queries = rollbook.start_program(
        *(ROLLBOOK, "serve", "queries", "--operations", "--listen", "127.0.0.1:0")
    )
    handler.wait_for("restored partition", times=rollbook.settings.partitions)
    url = address_of(queries)
    job = httpx2.post(f"{url}/verify", json={"timeout": 600}, trust_env=False)
    assert job.status_code == 202, job.text
    running = [process for one in (handler, queries) for process in family(one.pid)]
    assert len(running) >= 5  # the handler's two, and a job
    for pid in running:
        assert not found_in_process(pid, [PASSWORD])


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    started = psutil.Process(pid).children(recursive=True)
    return [pid, *(one.pid for one in started)]


def test_a_stack_keeps_its_passwords_in_private_files(stack: LocalStack) -> None:
    """In none of its logs, and with no process of it."""
    record = read_record(stack.directory)
    assert record is not None
    kept = {
        file: file.read_text(encoding="utf-8").strip()
        for file in stack.directory.rglob("*.password")
    }
    assert kept
    for folder in (stack.directory, Path(record.data) / "configuration"):
        for file in filter(Path.is_file, folder.rglob("*")):
            text = file.read_text(encoding="utf-8", errors="replace")
            if found_in(text, kept.values()):
                assert file.stat().st_mode & 0o077 == 0, file
                assert file.suffix != ".log"
    for pid in family(stack.supervisor.pid()):
        assert not found_in_process(pid, kept.values())
