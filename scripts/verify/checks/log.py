"""Pure checks of the log: `user-history` on its own, and `user-events` against it.

One pass, one partition at a time. Memory grows with the number of users, plus the ids and states of
one partition's events.
"""

from collections.abc import Iterable, Mapping, Sequence

from schemas.identity import email_shard, event_id, history_key, partition_of, user_shard
from schemas.records import USER_CREATED, UserEvent
from scripts.verify.facts import NO_CUT, Check, Entry, Fact, Last, last_of, text_hash
from scripts.verify.replay import Replay


class LogChecks:
    """Call `history`, `events` and `compare_topics` for each partition, then `finish` once.

    A step back in time of more than `clock_lead_ms` is the permitted return from a clock that was
    ahead; 0 permits none.
    """

    def __init__(self, partitions: int, clock_lead_ms: int = 0) -> None:
        self._partitions = partitions
        self._clock_lead_ms = clock_lead_ms
        self.seq = Check("history: seq is 1, 2, 3 … in every partition")
        self.version = Check("history: each user's versions are 1, 2, 3 …")
        self.time = Check("history: time never goes back within a partition")
        self.place = Check("history and events: every record is in its user's partition")
        self.key = Check("history and events: keys and event ids match their record")
        self.moment = Check("at any time at most one live user holds an address, per partition")
        self.everywhere = Check("at most one live user holds an address, over all partitions")
        self.same = Check("events: each user's last record equals the history's last")
        self.order = Check("events: seq only grows, and there are no tombstones")
        self.erased = Check(
            "history: an erased user has only the marker left, other users have everything"
        )
        self.replay = Check(
            "history: replayed from the start, it gives the state each event carries"
        )
        self.removed = Check("history: records removed", listing=True)
        self.users: dict[str, Last] = {}
        self._history: dict[str, Last] = {}
        self._events: dict[str, Last] = {}
        self._facts: list[Fact] = []
        self._tombstones: dict[str, int] = {}
        self._taken: list[tuple[str, str, str]] = []
        self._missing_versions: dict[str, int] = {}
        self._missing_seqs: dict[int, list[tuple[int, int]]] = {}

    def checks(self) -> list[Check]:
        """Return all checks in the order they are shown."""
        return [
            *(self.seq, self.version, self.time, self.place, self.key, self.order, self.same),
            *(self.moment, self.everywhere, self.erased, self.replay, self.removed),
        ]

    def history(self, partition: int, entries: Iterable[Entry]) -> list[Fact]:
        """Fold one partition of `user-history` from its beginning; return its events' ids."""
        self._history, replay = {}, Replay()
        facts: list[Fact] = []
        self._facts = facts
        self._tombstones, self._taken = {}, []
        holders: dict[int, str] = {}
        last_seq = last_time = 0
        for entry in entries:
            event = self._readable(entry)
            if event is None:
                if not entry.problem:
                    self.removed.report(f"user-history {entry.where}")
                    self._tombstones[entry.key or ""] = len(facts)
                continue
            where = f"user-history {entry.where}"
            self._check_seq(partition, last_seq, event["seq"], where)
            self.time.looked_at += 1
            back_ms = last_time - event["occurred_at"]
            if back_ms > 0 and not 0 < self._clock_lead_ms < back_ms:
                self.time.report(where)
            key = history_key(event["user_id"], event["version"])
            self._check_place(event, partition, entry.key, key, where)
            self._check_version(event, where)
            self._check_holder(event, holders, where)
            self._check_replay(replay, event, where)
            last_seq = max(last_seq, event["seq"])
            last_time = event["occurred_at"]
            before = self._history.get(event["user_id"])
            if before is None or not before.erased:  # no later event undoes an erasure
                self._history[event["user_id"]] = last_of(event)
            facts.append(
                Fact(event["seq"], event["command_id"], event["user_id"], event["version"])
            )
        return facts

    def _readable(self, entry: Entry) -> UserEvent | None:
        self.removed.looked_at += 1
        event: UserEvent | None = entry.record
        return event

    def _check_seq(self, partition: int, last: int, seq: int, where: str) -> None:
        self.seq.looked_at += 1
        if seq <= last:
            self.seq.report(f"{where}: seq {seq} after {last}")
        elif seq > last + 1:
            self._missing_seqs.setdefault(partition, []).append((last + 1, seq - 1))

    def _check_version(self, event: UserEvent, where: str) -> None:
        self.version.looked_at += 1
        user_id, version = event["user_id"], event["version"]
        last = self._history.get(user_id)
        before = last.version if last else 0
        if version <= before:
            self.version.report(f"{where}: user {user_id} version {version} after {before}")
        elif version > before + 1:
            missing = self._missing_versions.get(user_id, 0) + version - before - 1
            self._missing_versions[user_id] = missing

    def _check_place(
        self, event: UserEvent, partition: int, key: str | None, wanted_key: str, where: str
    ) -> None:
        self.place.looked_at += 1
        shard = user_shard(event["user_id"])
        if partition_of(shard, self._partitions) != partition:
            self.place.report(f"{where}: user {event['user_id']}")
        user = event["user"]
        if event["type"] == USER_CREATED and user and email_shard(user["email_key"]) != shard:
            self.place.report(
                f"{where}: user {event['user_id']} is not in the partition of its address"
            )
        self.key.looked_at += 1
        if key != wanted_key or event["event_id"] != event_id(event["user_id"], event["version"]):
            self.key.report(where)

    def _check_replay(self, replay: Replay, event: UserEvent, where: str) -> None:
        agrees = replay.agrees(event)
        if agrees is not None:
            self.replay.looked_at += 1
            if not agrees:
                self.replay.report(f"{where}: user {event['user_id']} version {event['version']}")

    def _check_holder(self, event: UserEvent, holders: dict[int, str], where: str) -> None:
        """Track who holds which address in this partition, in the order of the log."""
        self.moment.looked_at += 1
        user_id, user = event["user_id"], event["user"]
        before = self._history.get(user_id)
        if before and before.age is not None and holders.get(before.email_key) == user_id:
            del holders[before.email_key]
        if user is not None:
            key = text_hash(user["email_key"])
            holder = holders.get(key, user_id)
            holders[key] = user_id
            if holder != user_id:
                self._taken.append((where, user_id, holder))

    def events(self, partition: int, entries: Iterable[Entry]) -> None:
        """Fold one partition of `user-events`, of which compaction may have removed records."""
        self._events = {}
        last_seq = 0
        for entry in entries:
            event = self._readable(entry)
            where = f"user-events {entry.where}"
            self.order.looked_at += 1
            if event is None:
                if not entry.problem:
                    self.order.report(f"{where}: a tombstone")
                continue
            if event["seq"] <= last_seq and not self._is_repair(event):
                self.order.report(f"{where}: seq {event['seq']} after {last_seq}")
            last_seq = max(last_seq, event["seq"])
            self._check_place(event, partition, entry.key, event["user_id"], where)
            self._events[event["user_id"]] = last_of(event)
        self.users.update(self._events)

    def _is_repair(self, event: UserEvent) -> bool:
        """Return whether `rollbook handler repair` wrote it: a copy of its user's last event."""
        return self._history.get(event["user_id"]) == last_of(event)

    def later(self, entries: Iterable[Entry]) -> None:
        """Add what was appended to `user-events` since; the read models may have it already."""
        self.users.update(
            (entry.record["user_id"], last_of(entry.record)) for entry in entries if entry.record
        )

    def last_seqs(self) -> dict[int, int]:
        """Return partition → the greatest seq of `user-events` read so far."""
        seqs: dict[int, int] = {}
        for user_id, last in self.users.items():
            home = partition_of(user_shard(user_id), self._partitions)
            seqs[home] = max(seqs.get(home, 0), last.seq)
        return seqs

    def compare_topics(self, partition: int, cut: int = NO_CUT) -> None:
        """Compare the two topics of one partition, except for users who changed after seq `cut`.

        While a handler is running, the two are read at different moments; `cut` is the last seq
        decided before the reading began.
        """
        erased = self.erasures()
        for where, user_id, holder in self._taken:
            # Any event of an erased user may be gone, including the one in which it left the
            # address.
            if user_id not in erased and holder not in erased:
                self.moment.report(f"{where}: user {user_id} takes the address of user {holder}")
        _check_erasures(
            self.erased, partition, self._facts, self._history, self._tombstones, cut=cut
        )
        for user_id in self._events.keys() | self._history.keys():
            event, history = self._events.get(user_id), self._history.get(user_id)
            if any(last is not None and last.seq > cut for last in (event, history)):
                continue
            self.same.looked_at += 1
            if event is None or history is None:
                missing = "user-events" if event is None else "user-history"
                self.same.report(f"partition {partition}: user {user_id} is not in {missing}")
            elif event.digest != history.digest:
                self.same.report(
                    f"partition {partition}: user {user_id} version {event.version} in "
                    f"user-events, {history.version} in user-history"
                )

    def erasures(self) -> dict[str, int]:
        """Return the erased users of the last partition read, with their markers' versions."""
        return {user: last.version for user, last in self._history.items() if last.erased}

    def shared_addresses(self) -> set[frozenset[str]]:
        """Return the pairs of live users with one address, as last read."""
        holders: dict[int, str] = {}
        pairs = set()
        for user_id, last in self.users.items():
            if last.age is not None:
                holder = holders.setdefault(last.email_key, user_id)
                if holder != user_id:
                    pairs.add(frozenset((holder, user_id)))
        return pairs

    def finish(self, suspects: set[frozenset[str]] | None = None) -> None:
        """Check gaps, which only an erasure may cause, and addresses shared across partitions.

        `suspects` are the pairs of an earlier reading: partitions are read one after the other, so
        one reading may show a user before it left an address and another who took it afterwards.
        """
        excused: dict[int, int] = {}
        for user_id, missing in self._missing_versions.items():
            last = self.users.get(user_id)
            if last and last.erased:
                home = partition_of(user_shard(user_id), self._partitions)
                excused[home] = excused.get(home, 0) + missing
            else:
                self.version.report(f"user {user_id} lacks {missing} of its versions")
        for partition, gaps in self._missing_seqs.items():
            if sum(last - first + 1 for first, last in gaps) > excused.get(partition, 0):
                for first, last_missing in gaps:
                    self.seq.report(f"partition {partition}: no seq {first}–{last_missing}")
        self.everywhere.looked_at += sum(last.age is not None for last in self.users.values())
        pairs = self.shared_addresses()
        for pair in pairs if suspects is None else pairs & suspects:
            self.everywhere.report(f"users {' and '.join(sorted(pair))}")


def _check_erasures(
    check: Check,
    partition: int,
    facts: Sequence[Fact],
    users: Mapping[str, Last],
    tombstones: Mapping[str, int],
    *,
    cut: int,
) -> None:
    """Check one partition: an erased user's events but the marker are removed, and no others.

    `tombstones` maps the removed keys to the number of events before them. What was decided after
    seq `cut` is skipped: marker and tombstones are one transaction, and a reading may see half of
    it.
    """
    markers = {user_id: last.version for user_id, last in users.items() if last.erased}
    recent = {user_id for user_id, last in users.items() if last.seq > cut}
    for user_id in markers.keys() - recent:
        if users[user_id].is_personal:
            check.report(
                f"partition {partition}: the marker of user {user_id} contains personal data"
            )
    check.looked_at += len(facts)
    for at, fact in enumerate(facts):
        removed = tombstones.get(history_key(fact.user_id, fact.version), -1) > at
        must_be = fact.version < markers.get(fact.user_id, 0)
        if fact.user_id not in recent and removed != must_be:
            state = "was removed" if removed else "still exists"
            check.report(
                f"partition {partition}: user {fact.user_id} version {fact.version} {state}"
            )
    kept = {history_key(fact.user_id, fact.version) for fact in facts} if tombstones else set()
    for key in tombstones.keys() - kept:
        user_id, _, version = key.rpartition(":")
        if user_id not in recent and int(version) >= markers.get(user_id, 0):
            check.report(f"partition {partition}: {key} was removed")
