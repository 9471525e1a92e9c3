"""Keeps every version of a read model up to date: one runner for each, in one process.

Versions that are not live are kept up to date too, so that a rollback is only a swap, and an
erasure reaches all of them.
"""

import logging
import threading
import time

from projectors.contract.read_model import READY, ReadModel, ReadModelVersions, Version
from projectors.engine.log_identity import LOST_LOG, OTHER_TOPIC
from projectors.engine.meter import Meter
from projectors.engine.start import open_runner
from projectors.versions.abandoned import AbandonedVersions
from projectors.versions.groups import delete_leftover_groups
from projectors.versions.leftovers import LeftoverRemover
from projectors.versions.rebuild_lock import is_rebuilding
from projectors.versions.version_meters import VersionMeters
from runtime.logs import log_fields
from runtime.metrics.health import HEALTH, START
from runtime.process import FORBIDDEN_RETRY_SECONDS, Backoff, StopSignal, until_available
from runtime.settings import Settings
from schemas.errors import Forbidden, RollbookError, Unavailable

log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
# Errors that a rebuilt version would not have.
_FIXED_BY_A_SWAP = {OTHER_TOPIC, LOST_LOG}


class Host:
    """The projector of one read model with all its versions; see `run`."""

    def __init__(
        self, settings: Settings, versions: ReadModelVersions, stopping: StopSignal
    ) -> None:
        self._settings = settings
        self._versions = versions
        self._stopping = stopping
        self._running: dict[int, _Running] = {}
        self._meters = VersionMeters(settings, versions, stopping)
        self._has_live = True
        self._may_not_look = False
        self._known: set[int] = set()
        self._abandoned = AbandonedVersions(
            versions, lambda: is_rebuilding(settings, versions.name)
        )

    def run(self) -> None:
        """Apply events until asked to stop, to all versions that are ready and not paused.

        Creates the first version if there is none, and drops what killed rebuilds left. Raises what
        ends the runner of the live version (see `Runner.run`). The runner of any other version is
        started again after an error, without affecting the rest.
        """
        try:
            until_available(self._stopping, self._begin)
            HEALTH.works(START)
            LeftoverRemover(self._settings, self._versions.name, self._stopping).start()
            while not self._stopping:
                self._start_and_stop_runners()
                self._stopping.wait(REFRESH_SECONDS)
        finally:
            for running in self._running.values():
                running.stop()
            for running in self._running.values():
                running.join()
            self._versions.close()

    def _begin(self) -> None:
        """Create or update what the store lacks; if only that is denied, say who may do it."""
        try:
            self._versions.begin()
        except Forbidden as error:
            self._versions.versions()  # raises if more is denied
            raise Forbidden(
                f"{error}; `rollbook projector prepare {self._versions.name}`, with the operator's "
                "login, creates and updates what a projector may not",
                code=error.code,
                next_step=error.next_step,
            ) from None

    def _start_and_stop_runners(self) -> None:
        """Start the runners of new versions, and stop those of dropped versions."""
        try:
            listed = self._listed()
            ready = [version for version in listed if version.state == READY]
            for version in ready:
                running = self._running.get(version.number)
                if running is None:
                    meter = self._meters.of(version.number)
                    running = self._running[version.number] = _Running(self._settings, meter)
                running.is_paused = version.paused_at is not None
                if not running.is_running:
                    with log_fields(version=version.number):
                        self._start(running, version, alone=len(ready) == 1)
        except (Unavailable, Forbidden) as error:
            log.warning("%s; the versions will be listed again later", error)
            HEALTH.lacks(error)
            if isinstance(error, Forbidden):
                self._stopping.wait(FORBIDDEN_RETRY_SECONDS)
            return
        HEALTH.works()
        for number in set(self._running) - {version.number for version in ready}:
            self._running[number].stop()
            self._running.pop(number).join()
        self._meters.listed(ready)
        self._delete_groups({version.number for version in listed})

    def _delete_groups(self, numbers: set[int]) -> None:
        """Once versions have gone, delete their groups; the last process to leave succeeds."""
        gone, self._known = self._known - numbers, numbers
        if gone:
            try:
                delete_leftover_groups(self._settings, self._versions)
            except (Unavailable, Forbidden) as error:
                log.warning("%s; the next drop or rebuild deletes the group", error)

    def _listed(self) -> list[Version]:
        """Return all versions; if someone removed them all, create the first one again."""
        versions = self._versions.versions()
        if not versions:
            log.warning("no version of %s exists any more: creating one", self._versions.name)
            self._begin()
            versions = self._versions.versions()
        live = any(version.live for version in versions)
        if self._has_live and not live:
            log.error(
                "no version of %s is live: `rollbook projector swap` makes one live",
                self._versions.name,
            )
        self._has_live = live
        self._drop_abandoned(versions)
        return versions

    def _drop_abandoned(self, versions: list[Version]) -> None:
        try:
            self._abandoned.drop(versions)
        except Unavailable as error:
            log.warning("%s; whether a rebuild is running will be looked up again later", error)
        except Forbidden as error:
            if not self._may_not_look:
                log.warning("%s; a killed rebuild's version is kept until the next one", error)
            self._may_not_look = True

    def _start(self, running: "_Running", version: Version, *, alone: bool) -> None:
        # A live version of a log that no longer exists can only be replaced by a swap. Until then
        # the versions of the present log must be kept up to date.
        error = running.error
        if error is not None and version.live and (alone or error.code not in _FIXED_BY_A_SWAP):
            raise error
        if running.is_due:
            try:
                self._begin()  # an older release may have added the version
                running.start(self._versions.open(version.number))
            except RollbookError as error:
                if version.live or isinstance(error, Unavailable):
                    raise
                running.fail(error)


class _Running:
    """The runner of one version, in its own thread."""

    def __init__(self, settings: Settings, meter: Meter) -> None:
        self.error: RollbookError | None = None
        self.is_paused = False
        self._settings = settings
        self._meter = meter
        self._stopping = StopSignal()
        self._thread: threading.Thread | None = None
        self._backoff = Backoff(REFRESH_SECONDS, _LONGEST_PAUSE_SECONDS)
        self._due_at = 0.0

    @property
    def is_running(self) -> bool:
        """Whether the thread was started and has not ended."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_due(self) -> bool:
        """Whether it is time for a first start, or for a restart after a failure."""
        return time.monotonic() >= self._due_at

    def start(self, model: ReadModel) -> None:
        """Keep `model` up to date until `stop`."""
        name = f"{model.name}-{model.version}"
        self._thread = threading.Thread(target=self._run, args=(model,), name=name)
        self._thread.start()

    def fail(self, error: RollbookError) -> None:
        """Note the error, and do not start again for a while."""
        self.error = error
        self._meter.failed()
        pause_seconds = self._pause()
        log.error("%s; trying again in %.0f s if it is not live", error, pause_seconds)

    def _pause(self) -> float:
        pause_seconds = self._backoff.next_seconds()
        self._due_at = time.monotonic() + pause_seconds
        return pause_seconds

    def stop(self) -> None:
        """Ask the runner to stop."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until the runner has stopped."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, model: ReadModel) -> None:
        with log_fields(read_model=model.name, version=model.version):
            self._run_model(model)
        HEALTH.works()  # what has ended waits for nothing

    def _run_model(self, model: ReadModel) -> None:
        try:
            runner = until_available(
                self._stopping,
                lambda: open_runner(
                    self._settings,
                    model,
                    self._stopping,
                    self._meter,
                    is_paused=lambda: self.is_paused,
                    traced=True,
                ),
            )
            if runner is None:
                model.close()
            else:
                runner.run()
                # It was dropped, or else it is still listed: then not again within a second.
                self._pause()
        except RollbookError as error:
            self.fail(error)
        except BaseException as error:
            log.exception("the projector failed")
            self.fail(RollbookError(f"the projector failed: {type(error).__name__}"))
