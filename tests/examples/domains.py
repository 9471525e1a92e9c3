"""How many users each e-mail domain has, in SQLite: a custom read model.

docs/your-own-read-model.md explains it. A version is a file with its rows and its checkpoint;
another file beside them lists the versions and says which one is live.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, cast

from projectors.contract import (
    LATEST_STATE,
    READY,
    Batch,
    Dropped,
    Fenced,
    Misconfigured,
    Poisoned,
    Position,
    Rejected,
    Row,
    Settings,
    Unavailable,
    UserEvent,
    Version,
    state_home,
)


def domain_of(event: UserEvent) -> str | None:
    """Return the domain of a user's address, None once the user is deleted."""
    user = event["user"]
    if user is None:
        return None
    _, at, domain = user["email_key"].rpartition("@")
    if not at:
        raise Poisoned("an address has no domain", code="no_domain")
    return domain


# The columns of a user, and how each is computed. A version keeps those it was created with.
COLUMNS: dict[str, Callable[[UserEvent], str | int | None]] = {
    "domain": domain_of,
}
_TABLES: Final = """
PRAGMA journal_mode = WAL; -- readers do not block the writer
CREATE TABLE users (user_id TEXT PRIMARY KEY, version INTEGER, {columns}) WITHOUT ROWID;
CREATE TABLE checkpoints (
    partition INTEGER PRIMARY KEY, topic_id TEXT, next_offset INTEGER, last_seq INTEGER,
    applied_at INTEGER
)"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS users_domain ON users (domain)"
_VERSIONS: Final = """
CREATE TABLE IF NOT EXISTS versions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused
    state TEXT DEFAULT 'building', live INTEGER DEFAULT 0,
    created_at INTEGER, live_since INTEGER, columns TEXT
)"""
_WAIT_SECONDS: Final = 5.0


@contextmanager
def transaction(
    file: Path, begin: str = "BEGIN IMMEDIATE", mode: str = "rw"
) -> Iterator[sqlite3.Connection]:
    """Open a connection for one transaction; IMMEDIATE waits for other writers."""
    where = f"{file.absolute().as_uri()}?mode={mode}"
    try:
        if mode == "rwc":
            file.parent.mkdir(parents=True, exist_ok=True)
        opened = sqlite3.connect(where, timeout=_WAIT_SECONDS, isolation_level=None, uri=True)
        with closing(opened) as connection:
            connection.execute(begin)
            with connection:  # commits, or rolls back
                yield connection
    except (sqlite3.DataError, sqlite3.IntegrityError, OverflowError, UnicodeError) as error:
        name = type(error).__name__  # not its text, which may quote a value
        raise Poisoned(f"SQLite cannot store it: {name}", code="sqlite_refused") from None
    except sqlite3.OperationalError as error:
        if not file.exists() or "no such table" in str(error):
            raise Dropped(f"{file.name} of the read model domains is missing") from None
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            raise  # one of our statements is wrong
        raise Unavailable(
            f"SQLite cannot use {file}: {error.sqlite_errorname}",
            code="sqlite_unavailable",
            next_step="does another process hold it for long? is there room on its disk?",
        ) from None
    except OSError as error:
        raise Unavailable(f"{error.strerror}: {file}", code="sqlite_unavailable") from None


class DomainUsers:
    """One version: a `ReadModel`."""

    name: Final = "domains"
    source: Final = LATEST_STATE

    def __init__(self, version: int, file: Path, columns: Sequence[str]) -> None:
        self.version = version
        self._file = file
        self._columns = columns
        names = ", ".join(["user_id", "version", *columns])
        places = ", ".join(["?", "?", *("?" for _ in columns)])
        changes = ", ".join(f"{name} = excluded.{name}" for name in ["version", *columns])
        self._select = f"SELECT {names} FROM users"  # noqa: S608 - names come from COLUMNS
        self._upsert = f"""INSERT INTO users ({names}) VALUES ({places})
            ON CONFLICT (user_id) DO UPDATE SET {changes}
            WHERE version < excluded.version"""  # noqa: S608 - names come from COLUMNS

    def checkpoint(self) -> dict[int, Position]:
        """Return the position of each partition that was ever written."""
        with transaction(self._file, "BEGIN") as connection:
            return _positions(connection)

    def write(self, batch: Batch) -> None:
        """Apply the events and advance the checkpoint in one transaction."""
        rows = [self.row_of(event) for event in batch.events]
        applied_at = _now()
        with transaction(self._file) as connection:
            found = _positions(connection)
            for partition, step in batch.advances.items():
                if found.get(partition) != step.before:
                    raise Fenced(f"another process advanced partition {partition} of domains")
                after = (step.after.topic_id, step.after.next_offset, step.after.last_seq)
                values = (partition, *after, applied_at)
                connection.execute("REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?)", values)
            connection.executemany(self._upsert, rows)

    def make_visible(self) -> None:
        """Do nothing: queries see what is committed."""

    def row_of(self, event: UserEvent) -> Row:
        """Return the row of the user after `event`; a marker if the user is deleted."""
        values = (COLUMNS[name](event) for name in self._columns)
        return cast("Row", (event["user_id"], event["version"], *values))

    def rows(self) -> Iterator[Sequence[Row]]:
        """Yield every row, all from one snapshot."""
        with transaction(self._file, "BEGIN") as connection:
            found = connection.execute(self._select)
            while rows := found.fetchmany(1000):
                yield rows

    def close(self) -> None:
        """Do nothing: no connection stays open."""


class DomainVersions:
    """All versions, in a folder of the state directory: `ReadModelVersions`."""

    name: Final = DomainUsers.name
    source: Final = LATEST_STATE

    def __init__(self, settings: Settings) -> None:
        directory = Path(settings.state_directory or state_home())
        self._folder = directory / settings.named(self.name)
        self._list = self._folder / "versions.sqlite"

    def file(self, number: int) -> Path:
        """Return the file of a version."""
        return self._folder / f"{number}.sqlite"

    def versions(self) -> list[Version]:
        """Return every version, by number; empty before `begin`."""
        try:
            with transaction(self._list, "BEGIN") as connection:
                return _versions(connection)
        except Dropped:
            return []

    def begin(self) -> None:
        """Create the first version, ready and live, if there is none."""
        if not self.versions():
            with self._changing() as connection:
                if not _versions(connection):
                    number = self._create(connection)
                    self.finish(number)
                    values = (READY, _now())
                    connection.execute(
                        "UPDATE versions SET live = 1, state = ?, live_since = ?", values
                    )

    def create(self) -> int:
        """Create an empty version in state building, and return its number."""
        with self._changing() as connection:
            return self._create(connection)

    def open(self, number: int) -> DomainUsers:
        """Return a version, with the columns it was created with."""
        with transaction(self._list, "BEGIN") as connection:
            found = connection.execute("SELECT columns FROM versions WHERE number = ?", (number,))
            columns = next((text.split() for (text,) in found), list(COLUMNS))
        if not set(columns) <= set(COLUMNS):
            raise Misconfigured(f"version {number} has other columns", code="other_shape")
        return DomainUsers(number, self.file(number), columns)

    def finish(self, number: int) -> None:
        """Build the index."""
        with transaction(self.file(number)) as connection:
            connection.execute(_INDEX)

    def accept(self, number: int) -> None:
        """Make a version ready."""
        update = "UPDATE versions SET state = ? WHERE number = ?"
        with self._changing() as connection:
            if not connection.execute(update, (READY, number)).rowcount:
                raise Dropped(f"version {number} of domains was dropped")

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        """Make a ready version live for all queries with one commit."""
        with self._changing() as connection:
            found = {version.number: version for version in _versions(connection)}
            if number not in found or found[number].state != READY:
                raise Rejected(f"version {number} is not ready", code="version_not_ready")
            live = next(version.number for version in found.values() if version.live)
            if live == number:
                return
            with transaction(self.file(live)):  # blocks its writers
                await_caught_up()
                connection.execute("UPDATE versions SET live = number = ?", (number,))
                connection.execute("UPDATE versions SET live_since = ? WHERE live", (_now(),))
                connection.commit()

    def drop(self, number: int) -> None:
        """Remove a version that is not live."""
        with self._changing() as connection:
            if any(version.live for version in _versions(connection) if version.number == number):
                raise Rejected(f"version {number} is live", code="version_is_live")
            connection.execute("DELETE FROM versions WHERE number = ?", (number,))
        _remove(self.file(number))

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    def _create(self, connection: sqlite3.Connection) -> int:
        insert = "INSERT INTO versions (created_at, columns) VALUES (?, ?) RETURNING number"
        [[number]] = connection.execute(insert, (_now(), " ".join(COLUMNS)))
        _remove(self.file(number))  # left behind by a process that was killed here
        with closing(sqlite3.connect(self.file(number))) as created:
            created.executescript(_TABLES.format(columns=", ".join(COLUMNS)))
        return int(number)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Open the list of versions for one process at a time; readers do not wait."""
        with transaction(self._list, mode="rwc") as connection:
            connection.execute(_VERSIONS)
            yield connection


def _positions(connection: sqlite3.Connection) -> dict[int, Position]:
    return {row[0]: Position(*row[1:]) for row in connection.execute("SELECT * FROM checkpoints")}


def _versions(connection: sqlite3.Connection) -> list[Version]:
    found = connection.execute("SELECT number, state, live, created_at, live_since FROM versions")
    return [Version(number, state, bool(live), *times) for number, state, live, *times in found]


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _now() -> int:
    return time.time_ns() // 1_000_000
