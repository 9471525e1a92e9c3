"""Waits until read models show what a command did: people read their own writes.

The answer to a command has a token, its event's place on the log. A read model shows the event once
the checkpoint of its live version has passed that place and what it covers was made visible.

This holds across a swap as well. A swap holds the version that is live and makes the new one live
only when that has applied all that the log had, so what was seen on the one is on the other. What
was seen on a version that was not live by then would prove nothing, so a wait ends only if the
version it looked at still is.

It holds as long as the store's server lives. One of PostgreSQL that crashes may forget its last
moments, rows and checkpoint together, until the projector has applied them from the log again: a
token that was honoured before is then waited for once more, by whoever gives it again.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from projectors.catalog import open_versions
from projectors.contract.read_model import Dropped, ReadModel, ReadModelVersions
from runtime.settings import Settings
from schemas.errors import NotInTime
from schemas.tokens import Token, parse_token

DEFAULT_TIMEOUT_SECONDS = 10.0

# Between looks, doubling: a lone event is applied within milliseconds, a lag of seconds costs less.
_FIRST_PAUSE_SECONDS = 0.002
_MOST_PAUSE_SECONDS = 0.05
_NOT_VISIBLE = "not_visible_in_time"


class Visibility:
    """Waits until the read models `names` show what commands did. Not for several threads.

    Keep one for many waits: it keeps its connections. Construction connects to nothing, and raises
    `Misconfigured` (`unknown_read_model`) for a name that is none.
    """

    def __init__(self, settings: Settings, names: Iterable[str]) -> None:
        self._partitions = settings.partitions
        with ExitStack() as opened:
            self._models = []
            for name in dict.fromkeys(names):
                self._models.append(LiveVersion(open_versions(settings, name)))
                opened.callback(self._models[-1].close)
            self._opened = opened.pop_all()

    def wait(
        self,
        token: str,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        *,
        while_it_moves: bool = False,
    ) -> None:
        """Return once queries of each read model that begin now see all that `token` covers.

        `timeout_seconds` are for all of them; with `while_it_moves` for each, and they begin anew
        whenever its checkpoint has moved. Raises `NotInTime` (`not_visible_in_time`), at once
        `Unavailable` if a store is away, `Rejected` (`invalid_token`).
        """
        place = parse_token(token).within(self._partitions)
        deadline = time.monotonic() + timeout_seconds
        for model in self._models:
            left = timeout_seconds if while_it_moves else deadline - time.monotonic()
            model.wait(place, max(0.0, left), while_it_moves=while_it_moves)

    def close(self) -> None:
        """Let go of connections."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class LiveVersion:
    """The version of a read model that queries see, whichever that is. Not for several threads."""

    def __init__(self, versions: ReadModelVersions) -> None:
        """Take over `versions`, which `close` lets go of; nothing is connected yet."""
        self._versions = versions
        self._model: ReadModel | None = None
        self._seqs: Mapping[int, int] = {}

    def wait(self, token: Token, timeout_seconds: float, *, while_it_moves: bool = False) -> None:
        """Return once queries that begin now see all that `token` covers; look at least once.

        With `while_it_moves` the time begins anew whenever the checkpoint has moved. Raises
        `NotInTime` (`not_visible_in_time`), and at once `Unavailable` if the store is away.
        """
        deadline = time.monotonic() + timeout_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        seqs = self._seqs
        while not self._shows(token):
            now = time.monotonic()
            if while_it_moves and self._seqs != seqs:
                deadline, seqs = now + timeout_seconds, self._seqs
            if now >= deadline:
                raise self._not_in_time(token, timeout_seconds)
            time.sleep(min(pause_seconds, deadline - now))
            pause_seconds = min(2 * pause_seconds, _MOST_PAUSE_SECONDS)

    def close(self) -> None:
        """Let go of connections."""
        self._let_go()
        self._versions.close()

    def _shows(self, token: Token) -> bool:
        """Look once: whether a version that was live all the while shows all of it."""
        while (model := self._opened()) is not None:
            try:
                reached = self._has_come_to(token, model)
            except Dropped:  # with what comes next there is a moment to wait
                self._let_go()
                return False
            if self._live_number() == model.version:
                return reached
            self._let_go()
        return False

    def _opened(self) -> ReadModel | None:
        """Return the version that was live when it was opened; None if there is none."""
        if self._model is None and (number := self._live_number()) is not None:
            self._model = self._versions.open(number)
        return self._model

    def _has_come_to(self, token: Token, model: ReadModel) -> bool:
        found = model.checkpoint()
        self._seqs = {partition: position.last_seq for partition, position in found.items()}
        if self._behind(token):
            return False
        model.make_visible()
        return True

    def _live_number(self) -> int | None:
        return next((v.number for v in self._versions.versions() if v.live), None)

    def _let_go(self) -> None:
        if self._model is not None:
            self._model.close()
            self._model = None

    def _behind(self, token: Token) -> list[int]:
        """Return the partitions that have not come so far."""
        return [p for p, seq in sorted(token.seqs.items()) if self._seqs.get(p, 0) < seq]

    def _not_in_time(self, token: Token, timeout_seconds: float) -> NotInTime:
        name, behind = self._versions.name, self._behind(token)
        within = f"within {round(timeout_seconds, 1):g} s"
        if self._model is None or not behind:
            return NotInTime(
                f"there was no read model {name} {within}",
                code=_NOT_VISIBLE,
                next_step=f"`rollbook projector run {name}` (or `rollbook up`) builds it",
            )
        first = behind[0]
        more = f"; {len(behind) - 1} more partitions are behind" if behind[1:] else ""
        return NotInTime(
            f"{name} has not come to {first}:{token.seqs[first]} {within}: it is at "
            f"{first}:{self._seqs.get(first, 0)}{more}",
            code=_NOT_VISIBLE,
            next_step="`rollbook projector status` shows how far it is; if it is not behind, the "
            "event is a dead letter (`rollbook dead-letters list`) or the token another registry's",
        )
