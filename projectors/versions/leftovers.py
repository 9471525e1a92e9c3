"""Asks the stores, at most hourly, to remove from their disks what was deleted or erased.

A row that is deleted in PostgreSQL and a document that is replaced in Elasticsearch stay in the
files until a vacuum or a merge, and some of it longer. Each store knows what helps. Nothing here
needs more rights than the owner of the tables and indexes has.
"""

import logging
import random
import threading
import time
from contextlib import closing
from typing import Final, Protocol, runtime_checkable

from projectors.catalog import open_versions
from projectors.contract.read_model import READY, ReadModelVersions, Version
from projectors.contract.refusals import OTHER_SHAPE
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import Misconfigured, RollbookError

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 3600.0
# Processes that are started together must not do it at the same moment.
_FIRST_AFTER_SECONDS: Final = (600.0, 1200.0)


@runtime_checkable
class RemovesLeftovers(Protocol):
    """Versions of a read model whose store can be asked to remove what was deleted."""

    def remove_leftovers(self, number: int, *, settled_seconds: float = 120.0) -> bool:
        """Remove from the store's files what was deleted from version `number`; blocks.

        Does nothing, and returns False, if no user was deleted or erased since the last call that
        returned True. Users who were erased less than `settled_seconds` ago may be left for the
        next call. Raises `Unavailable`.
        """

    def erase_gone_users(self, number: int, live: int) -> int:
        """Erase from version `number` who is gone from version `live`; return how many it had.

        For a version with fields that this release does not know. Raises `Unavailable`.
        """


def ready_versions(versions: ReadModelVersions) -> list[Version]:
    """Return the versions that are ready."""
    return [version for version in versions.versions() if version.state == READY]


def erase_unmaintained(versions: ReadModelVersions, version: Version) -> None:
    """Erase who is gone from the live version from one that this release cannot write."""
    try:
        versions.open(version.number).close()
    except Misconfigured as error:
        live = [one.number for one in versions.versions() if one.live]
        if error.code != OTHER_SHAPE or version.live or not live:
            return
        if isinstance(versions, RemovesLeftovers):
            erased = versions.erase_gone_users(version.number, live[0])
            log.info(
                "erased %d rows from %s version %d",
                *(erased, versions.name, version.number),
                extra={"version": version.number},
            )


class LeftoverRemover:
    """A thread that asks for one read model, until the process stops."""

    def __init__(self, settings: Settings, name: str, stopping: StopSignal) -> None:
        self._settings = settings
        self._name = name
        self._stopping = stopping
        # A daemon: the end of the process must not wait for a vacuum, which may be repeated.
        self._thread = threading.Thread(target=self._run, name=f"leftovers-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread; it waits some minutes first."""
        self._thread.start()

    def _run(self) -> None:
        wait_seconds = random.uniform(*_FIRST_AFTER_SECONDS)  # noqa: S311 - avoids lockstep
        with closing(open_versions(self._settings, self._name)) as versions:
            if not isinstance(versions, RemovesLeftovers):
                return
            while not self._stopping.wait(wait_seconds):
                wait_seconds = EVERY_SECONDS
                try:
                    for version in ready_versions(versions):
                        erase_unmaintained(versions, version)
                        self._remove(versions, version.number)
                except RollbookError as error:
                    log.warning("%s; what was deleted is removed from disk an hour later", error)

    def _remove(self, versions: RemovesLeftovers, number: int) -> None:
        began = time.monotonic()
        if versions.remove_leftovers(number):
            log.info(
                "removed deleted users of %s version %d from disk in %.1f s",
                self._name,
                number,
                time.monotonic() - began,
                extra={"version": number},
            )
