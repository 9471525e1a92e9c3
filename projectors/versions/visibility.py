"""Waits until read models show what a command did, so that clients read their own writes.

The answer to a command has a token: the position of its event in the log. A read model shows the
event once the checkpoint of its live version has passed the position and everything that the
checkpoint covers was made visible.

This holds across a swap: a swap blocks writes to the live version and makes the new one live only
once it has applied everything that the log had. A version that is no longer live proves nothing, so
a wait ends only if the version that was examined is still live.

A token is worth nothing if the topics were re-created since the read model was built: the same seqs
then belong to other events. So the checkpoint must be of the topic that Kafka has now.

It holds until the store's server crashes. PostgreSQL may then lose its latest commits, rows and
checkpoint together, until the projector has applied them from the log again. A query that passes
the same token again waits for it again.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress

from projectors.catalog import open_versions
from projectors.contract.read_model import Dropped, ReadModel, ReadModelVersions
from runtime.closing import Closing
from runtime.settings import Settings
from runtime.topics.admin import check_topics
from schemas.errors import NotInTime, Unavailable
from schemas.tokens import WAIT_SECONDS, Token, parse_token
from schemas.topics import Topic

# Between checks, doubling: a single event is applied within milliseconds, and waiting for seconds
# must not cost many queries.
_FIRST_PAUSE_SECONDS = 0.002
_MAX_PAUSE_SECONDS = 0.05
_NOT_VISIBLE = "not_visible_in_time"
# For how long a topic's id is remembered: nobody re-creates the topics of a registry in use.
_KNOWN_FOR_SECONDS = 10.0


class TopicIds:
    """Kafka's ids of our topics, which it is asked for at most every ten seconds."""

    def __init__(
        self, settings: Settings, look_up: Callable[[Settings], Mapping[str, str]] = check_topics
    ) -> None:
        self._settings = settings
        self._look_up = look_up
        self._ids: Mapping[str, str] = {}
        self._known_until = 0.0

    def id_of(self, topic: Topic) -> str:
        """Return the id of a topic. Raises `Unavailable`, `Misconfigured` if it is missing."""
        if time.monotonic() >= self._known_until:
            self._ids = self._look_up(self._settings)
            self._known_until = time.monotonic() + _KNOWN_FOR_SECONDS
        return self._ids[topic.name]


class Visibility(Closing):
    """Waits until the read models `names` show what commands did. Not for several threads.

    Needs the stores, and Kafka for the ids of the topics. Reuse it for many waits: it keeps its
    connections. Construction connects to nothing; it raises `Misconfigured` (`unknown_read_model`)
    if no read model has one of the names.
    """

    def __init__(self, settings: Settings, names: Iterable[str]) -> None:
        self._partitions = settings.partitions
        topic_ids = TopicIds(settings)
        with ExitStack() as opened:
            self._models = []
            for name in dict.fromkeys(names):
                self._models.append(LiveVersion(open_versions(settings, name), topic_ids.id_of))
                opened.callback(self._models[-1].close)
            self._opened = opened.pop_all()

    def wait(
        self,
        token: str,
        timeout_seconds: float = WAIT_SECONDS,
        *,
        extend_on_progress: bool = False,
    ) -> None:
        """Return once queries of each read model that start now see everything `token` covers.

        `timeout_seconds` is the limit for all of them together. With `extend_on_progress` it is the
        limit for each, and starts again whenever its checkpoint has moved. Raises `NotInTime`
        (`not_visible_in_time`), `Unavailable` at once if a store or Kafka is down, `Rejected`
        (`invalid_token`).
        """
        place = parse_token(token).within(self._partitions)
        deadline = time.monotonic() + timeout_seconds
        for model in self._models:
            left = timeout_seconds if extend_on_progress else deadline - time.monotonic()
            model.wait(place, max(0.0, left), extend_on_progress=extend_on_progress)

    def close(self) -> None:
        """Close all connections."""
        self._opened.close()


class LiveVersion:
    """The currently live version of a read model. Not for several threads."""

    def __init__(self, versions: ReadModelVersions, topic_id: Callable[[Topic], str]) -> None:
        """Take over `versions`, which `close` closes; connect to nothing yet.

        `topic_id` returns the id that a topic has now.
        """
        self._versions = versions
        self._topic_id = topic_id
        self._is_of_other_topic = False
        self._model: ReadModel | None = None
        self._seqs: Mapping[int, int] = {}

    def wait(
        self, token: Token, timeout_seconds: float, *, extend_on_progress: bool = False
    ) -> None:
        """Return once queries that start now see everything `token` covers; checks at least once.

        With `extend_on_progress` the timeout starts again whenever the checkpoint has moved. Raises
        `NotInTime` (`not_visible_in_time`), and `Unavailable` at once if the store is down.
        """
        deadline = time.monotonic() + timeout_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        seqs = self._seqs
        while not self.shown([token]):
            now = time.monotonic()
            if extend_on_progress and self._seqs != seqs:
                deadline, seqs = now + timeout_seconds, self._seqs
            if now >= deadline:
                raise self.not_in_time(token, timeout_seconds)
            time.sleep(min(pause_seconds, deadline - now))
            pause_seconds = min(2 * pause_seconds, _MAX_PAUSE_SECONDS)

    def shown(self, tokens: Sequence[Token]) -> list[Token]:
        """Return those of `tokens` of which queries that start now see everything; checks once.

        Raises `Unavailable` if the store is down.
        """
        while (model := self._opened()) is not None:
            try:
                reached = self._reached(tokens, model)
            except Dropped:  # pause before looking for the next live version
                self._close_model()
                return []
            if self._live_number() == model.version:  # it stayed live meanwhile
                return reached
            self._close_model()
        return []

    def not_in_time(self, token: Token, timeout_seconds: float) -> NotInTime:
        """Return the error for a token that was not among those `shown` in time."""
        name, behind = self._versions.name, self._behind(token)
        within = f"within {round(timeout_seconds, 1):g} s"
        if self._is_of_other_topic:
            return NotInTime(
                f"{name} shows nothing of the present log: the topics were re-created since it was "
                "built",
                code=_NOT_VISIBLE,
                next_step=f"`rollbook projector rebuild {name}` reads the present log",
            )
        if self._model is None or not behind:
            return NotInTime(
                f"no read model {name} existed {within}",
                code=_NOT_VISIBLE,
                next_step=f"`rollbook projector run {name}` (or `rollbook up`) builds it",
            )
        if (paused := self._paused()) is not None:
            return NotInTime(
                f"{name} does not show the change: version {paused} of it is paused",
                code=_NOT_VISIBLE,
                next_step=f"`rollbook projector resume {name}` lets it continue",
            )
        first = behind[0]
        more = f"; {len(behind) - 1} more partitions are behind" if behind[1:] else ""
        return NotInTime(
            f"{name} has not reached {first}:{token.seqs[first]} {within}: it is at "
            f"{first}:{self._seqs.get(first, 0)}{more}",
            code=_NOT_VISIBLE,
            next_step="`rollbook projector status` shows how far it is; if it is not behind, the "
            "event is a dead letter (`rollbook dead-letters list`) or the token is from another "
            "registry",
        )

    def close(self) -> None:
        """Close all connections."""
        self._close_model()
        self._versions.close()

    def _opened(self) -> ReadModel | None:
        """Return the open version, which was live when it was opened; None if none is live."""
        if self._model is None and (number := self._live_number()) is not None:
            self._model = self._versions.open(number)
        return self._model

    def _reached(self, tokens: Sequence[Token], model: ReadModel) -> list[Token]:
        found = model.checkpoint()
        self._seqs = {partition: position.last_seq for partition, position in found.items()}
        passed = [token for token in tokens if not self._behind(token)]
        if not passed:
            return []
        topic_id = self._topic_id(model.source.topic)
        of_this_topic = [t for t in passed if all(found[p].topic_id == topic_id for p in t.seqs)]
        self._is_of_other_topic = of_this_topic != passed
        if of_this_topic:
            model.make_visible()
        return of_this_topic

    def _live_number(self) -> int | None:
        return next((v.number for v in self._versions.versions() if v.live), None)

    def _paused(self) -> int | None:
        """Return the number of the live version if it is paused, as far as that is known."""
        with suppress(Unavailable):
            found = self._versions.versions()
            return next((v.number for v in found if v.live and v.paused_at is not None), None)
        return None

    def _close_model(self) -> None:
        if self._model is not None:
            self._model.close()
            self._model = None

    def _behind(self, token: Token) -> list[int]:
        """Return the partitions whose checkpoint is before the token."""
        return [p for p, seq in sorted(token.seqs.items()) if self._seqs.get(p, 0) < seq]
