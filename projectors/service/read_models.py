"""`/read-models`: the versions of each read model, and how far each is behind the log."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Depends, Response

from projectors.contract.read_model import Version
from projectors.log.waiting import first_times
from projectors.service.api import documents as d
from projectors.service.stores.connections import NoConnection
from projectors.service.stores.pool import Pool
from projectors.versions.status import PartitionStatus, read_status, version_fields
from runtime.http import Scope, json_response, require, routes
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.errors import RollbookError
from schemas.topics import Topic

# Every page of a console asks every second or two; the servers are asked once for all of them.
_FRESH_SECONDS: Final = 0.5


def read_model_routes(settings: Settings, pool: Pool[NoConnection]) -> APIRouter:
    """Return the routes that show read models."""
    router = routes(tags=["read models"], dependencies=[Depends(require(Scope.QUERIES))])
    shared = _Shared(settings, pool)

    @router.get("/read-models", **d.read_models())
    async def all_read_models() -> Response:
        return json_response({"read_models": await shared.read()})

    return router


class _Shared:
    """Reads the status once for all requests that come while it is read, or shortly after."""

    def __init__(self, settings: Settings, pool: Pool[NoConnection]) -> None:
        self._settings = settings
        self._registry = Registry(settings)
        self._pool = pool
        self._reading: asyncio.Task[list[dict[str, Any]]] | None = None
        self._began_at = 0.0

    async def read(self) -> list[dict[str, Any]]:
        is_fresh = time.monotonic() - self._began_at < _FRESH_SECONDS
        if self._reading is None or (self._reading.done() and not is_fresh):
            self._reading = asyncio.create_task(self._read())
        # A caller that goes away must not end the reading for the others.
        return await asyncio.shield(self._reading)

    async def _read(self) -> list[dict[str, Any]]:
        try:
            return await self._pool.run(lambda _: describe(self._settings, self._registry))
        finally:
            self._began_at = time.monotonic()


def describe(settings: Settings, registry: Registry) -> list[dict[str, Any]]:
    """Return every read model with its versions and lag. Raises `Unavailable` without Kafka."""
    status = read_status(settings, registry)
    return [
        {
            "read_model": name,
            "error": _error(status.unavailable.get(name)),
            "versions": [
                _version(
                    settings,
                    topic,
                    version,
                    [
                        one
                        for one in status.partitions
                        if (one.read_model, one.version) == (name, version.number)
                    ],
                )
                for version in status.versions[name]
            ],
        }
        for name, topic in status.topics.items()
    ]


def _version(
    settings: Settings, topic: Topic, version: Version, partitions: Sequence[PartitionStatus]
) -> dict[str, Any]:
    lags = [one.lag for one in partitions if one.lag is not None]
    is_known = len(lags) == len(partitions)
    return {
        **version_fields(version),
        "lag_events": sum(lags) if is_known else None,
        "lag_seconds": _lag_seconds(settings, topic, partitions) if is_known else None,
        "partitions": [one.as_json() for one in partitions],
    }


def _lag_seconds(settings: Settings, topic: Topic, partitions: Sequence[PartitionStatus]) -> float:
    """Return for how long the oldest event that is not applied has been on the log."""
    behind = {one.partition: one.position or 0 for one in partitions if one.lag}
    times = first_times(settings, topic, behind) if behind else {}
    now_ms = time.time() * 1000
    return round(max([0.0, *((now_ms - since) / 1000 for since in times.values())]), 3)


def _error(error: RollbookError | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {"code": error.code, "message": str(error), "next": error.next_step}
