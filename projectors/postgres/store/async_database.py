"""One connection to PostgreSQL for an event loop, with the settings and errors of `Database`."""

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row

from projectors.postgres.store.database import Database, is_temporary
from schemas.errors import CHECK_SERVER, Unavailable

R = TypeVar("R")


class AsyncDatabase:
    """One connection in autocommit mode, opened on first use; one query at a time.

    `database` says how to connect and what errors mean; its own connection is not used.
    """

    def __init__(self, database: Database, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def fetch(self, kind: type[R], statement: bytes, parameters: Sequence[object]) -> list[R]:
        """Return the rows of a query as objects of `kind`.

        Raises as `Database.session` does, and `Unavailable` (`no_answer`) if it takes too long: the
        connection is then given up, so that the next query is not held up by the same one.
        """
        query = asyncio.create_task(self._fetch(kind, statement, parameters))
        try:
            done, _ = await asyncio.wait({query}, timeout=self._timeout_seconds)
        finally:
            if not query.done():
                self._hang_up()
        if done:
            return query.result()
        query.add_done_callback(_ignore)
        raise Unavailable(
            f"PostgreSQL did not answer within {self._timeout_seconds:g} s",
            code="no_answer",
            next_step=CHECK_SERVER,
        )

    async def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _fetch(
        self, kind: type[R], statement: bytes, parameters: Sequence[object]
    ) -> list[R]:
        try:
            connection = self._connection
            if connection is None or connection.closed:
                connection = self._connection = await self._open()
            async with connection.cursor(row_factory=class_row(kind)) as cursor:
                await cursor.execute(statement, parameters)
                return await cursor.fetchall()
        except psycopg.Error as error:
            if is_temporary(error):
                await self.close()
            raise self._database.explained(error) from None

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(**self._database.connect_options())
        try:
            cursor = await connection.execute(*self._database.session_statement())
            [[pid, *_]] = await cursor.fetchall()
            if pid != connection.info.backend_pid:  # a pooler: refuse one that shares sessions
                await asyncio.to_thread(self._database.check_pooler)
        except BaseException:
            await connection.close()
            raise
        return connection

    def _hang_up(self) -> None:
        """End the connection below psycopg, which would wait for the server's consent."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.closed:
            with socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)


def _ignore(query: "asyncio.Task[Any]") -> None:
    """Take note of how a query ended that nobody waits for, or asyncio would complain."""
    if not query.cancelled():
        query.exception()
