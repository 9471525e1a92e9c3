"""The latest outcomes by command id, so that a repeated command gets the same answer.

At full load a handler decides millions of ids within the window, so an answer is packed: as a
dictionary it would take 850 bytes, here it takes at most 64 (docs/decisions/0010). There are no
objects per id: a bucket of the hash table has the keys of its ids in one `bytearray` and their
answers in another, and `bytearray.find` is the search.
"""

from collections import deque
from itertools import compress
from operator import not_
from struct import Struct

from schemas.identity import uuid_bytes, uuid_text
from schemas.records import ACCEPTED, REJECTED, CommandOutcome

# Two independent hashes of the id, 80 bits together: two ids never meet by chance, and Python keys
# its hash of texts at random in each process, so nobody can construct ids that do.
_KEY = Struct("<qH")
# The period, the body's digest, the user's id, the version, the reason's number, and the offset and
# the seq in 48 bits each.
_ANSWER = Struct("<H8s16sIHIHIH")
_PERIOD = Struct("<H")
_KEY_BYTES, _ANSWER_BYTES = _KEY.size, _ANSWER.size
_16_BITS, _32_BITS = (1 << 16) - 1, (1 << 32) - 1
_PERIODS = 1 << 16
_NO_USER = bytes(16)

_IDS_PER_BUCKET = 128
# An answer is forgotten with its period: the window is longer than promised by at most one.
_PERIODS_PER_WINDOW = 8
# A gap between two answers counts as at most this. If a clock jumps ahead, ids are not forgotten.
_MOST_GAP_MS = 60_000
_MOST_REASONS = 1_000
_REASON_UNKNOWN = "the first answer's reason is no longer known"


class OutcomeWindow:
    """The latest outcomes, at least those of the last `least_commands` and of `least_ms`.

    An id is forgotten once it is outside both: further behind the latest command, in offsets, and
    further in time. Both depend on the log alone, so a window restored from the log remembers at
    least as much.
    """

    def __init__(self, least_commands: int, least_ms: int) -> None:
        self._least_commands = least_commands
        self._least_ms = least_ms
        self._table = _Table()
        self._reasons: list[tuple[str, str | None]] = [("", None)]
        self._reason_numbers: dict[tuple[str, str | None], int] = {}
        # The last offset and time of each earlier period that is within the window.
        self._ends: deque[tuple[int, int]] = deque()
        self._period = 0
        self._period_offset = 0
        self._period_ms = 0
        self._elapsed_ms = 0
        # Clients make ids that grow with time (UUIDv7). One that is greater than all is new, which
        # spares most commands a search through memory that no cache has.
        self._greatest_id = ""
        self.last_offset = -1
        self.last_decided_at = 0

    def get(self, command_id: str) -> CommandOutcome | None:
        """Return the first outcome of `command_id` within the window, or its latest repeat.

        Its `decided_at` is 0: that time is not kept.
        """
        if command_id > self._greatest_id:
            return None
        packed = self._table.find(command_id)
        if packed is None:
            return None
        _, digest, user_id, version, reason, *places = _ANSWER.unpack(packed)
        code, message = self._reasons[reason]
        low_offset, high_offset, low_seq, high_seq = places
        return {
            "command_id": command_id,
            "command_offset": high_offset << 32 | low_offset,
            "decided_at": 0,
            "digest": digest,
            "status": REJECTED if reason else ACCEPTED,
            "user_id": None if user_id == _NO_USER else uuid_text(user_id),
            "version": version or None,
            "seq": high_seq << 32 | low_seq,
            "code": code or None,
            "message": message,
            "repeated": False,
        }

    def add(self, outcome: CommandOutcome) -> None:
        """Remember `outcome` and forget what is too old.

        A repeat has the same content as the first answer and extends its life: a restore may begin
        between the two. A refusal of another body says nothing about the id's own command.
        """
        offset, decided_at, code = (
            outcome["command_offset"],
            outcome["decided_at"],
            outcome["code"],
        )
        self.last_offset = max(self.last_offset, offset)
        if decided_at != self.last_decided_at:
            self._pass_time(decided_at)
        if code == "command_id_reused":
            return
        command_id = outcome["command_id"]
        self._greatest_id = max(self._greatest_id, command_id)
        user_id, version, seq = outcome["user_id"], outcome["version"] or 0, outcome["seq"] or 0
        answer = _ANSWER.pack(
            self._period,
            outcome["digest"],
            uuid_bytes(user_id) if user_id else _NO_USER,
            min(version, _32_BITS),
            self._reason_number(code, outcome["message"]) if code else 0,
            offset & _32_BITS,
            offset >> 32 & _16_BITS,
            seq & _32_BITS,
            seq >> 32 & _16_BITS,
        )
        self._table.put(command_id, answer)

    def _pass_time(self, decided_at: int) -> None:
        """Note the time of the next outcome: a period may begin, and others leave the window."""
        self._elapsed_ms += min(max(decided_at - self.last_decided_at, 0), _MOST_GAP_MS)
        self.last_decided_at = decided_at
        commands = self.last_offset - self._period_offset
        elapsed_ms = self._elapsed_ms - self._period_ms
        if (
            commands * _PERIODS_PER_WINDOW < self._least_commands
            or elapsed_ms * _PERIODS_PER_WINDOW < self._least_ms
        ):
            return
        self._period_offset, self._period_ms = self.last_offset, self._elapsed_ms
        self._period = (self._period + 1) % _PERIODS
        ends = self._ends
        ends.append((self.last_offset, self._elapsed_ms))
        oldest_offset = self.last_offset - self._least_commands
        oldest_ms = self._elapsed_ms - self._least_ms
        while ends and ends[0][0] <= oldest_offset and ends[0][1] < oldest_ms:
            ends.popleft()
        self._table.oldest_period = (self._period - len(ends)) % _PERIODS

    def _reason_number(self, code: str, message: str | None) -> int:
        reason = (code, message)
        if reason not in self._reason_numbers:
            if len(self._reasons) >= _MOST_REASONS:
                reason = (code, _REASON_UNKNOWN)
            if self._reason_numbers.setdefault(reason, len(self._reasons)) == len(self._reasons):
                self._reasons.append(reason)
        return self._reason_numbers[reason]

    def __len__(self) -> int:
        """Return how many answers are kept, repeats included."""
        return self._table.ids


class _Table:
    """A hash table that grows by one bucket at a time (linear hashing), so nothing ever waits.

    In a bucket the oldest answers come first. Those from before `oldest_period` are removed when
    space is needed, in one bucket after the other.
    """

    def __init__(self) -> None:
        self.ids = 0
        self.oldest_period = 0
        self._keys = [bytearray()]
        self._answers = [bytearray()]
        self._most_ids = _IDS_PER_BUCKET
        # Buckets before `_split` are split already: one more bit of the hash counts there.
        self._mask = 0
        self._split = 0
        self._next_trimmed = 0

    def find(self, command_id: str) -> bytearray | None:
        """Return the oldest answer to a command; None if there is none."""
        number = hash(command_id)
        bucket = number & self._mask
        if bucket < self._split:
            bucket = number & (2 * self._mask + 1)
        keys = self._keys[bucket]
        key = _KEY.pack(number, hash(command_id + "\n") & _16_BITS)
        at = keys.find(key)
        while at % _KEY_BYTES and at >= 0:
            at = keys.find(key, at + 1)
        if at < 0:
            return None
        start = at // _KEY_BYTES * _ANSWER_BYTES
        return self._answers[bucket][start : start + _ANSWER_BYTES]

    def put(self, command_id: str, answer: bytes) -> None:
        """Add an answer; if the buckets are full on average, remove outdated ones, or grow."""
        if self.ids >= self._most_ids:
            self._next_trimmed = (self._next_trimmed + 1) % len(self._keys)
            self._trim(self._next_trimmed)
            if self.ids >= self._most_ids:
                self._grow()
        number = hash(command_id)
        bucket = number & self._mask
        if bucket < self._split:
            bucket = number & (2 * self._mask + 1)
        self._keys[bucket] += _KEY.pack(number, hash(command_id + "\n") & _16_BITS)
        self._answers[bucket] += answer
        self.ids += 1

    def _trim(self, bucket: int) -> None:
        """Remove the outdated answers of a bucket."""
        answers, outdated = self._answers[bucket], 0
        for at in range(0, len(answers), _ANSWER_BYTES):
            [period] = _PERIOD.unpack_from(answers, at)
            if (period - self.oldest_period) % _PERIODS < _PERIODS // 2:
                break
            outdated += 1
        if outdated:
            del self._keys[bucket][: outdated * _KEY_BYTES]
            del answers[: outdated * _ANSWER_BYTES]
            self.ids -= outdated

    def _grow(self) -> None:
        """Split the next bucket in two."""
        bit = self._mask + 1
        moves = [number & bit > 0 for number, _ in _KEY.iter_unpack(self._keys[self._split])]
        for buckets, size in ((self._keys, _KEY_BYTES), (self._answers, _ANSWER_BYTES)):
            whole = bytes(buckets[self._split])
            parts = [whole[at : at + size] for at in range(0, len(whole), size)]
            buckets[self._split] = bytearray().join(compress(parts, map(not_, moves)))
            buckets.append(bytearray().join(compress(parts, moves)))
        self._most_ids += _IDS_PER_BUCKET
        self._split += 1
        if self._split == bit:
            self._mask, self._split = 2 * self._mask + 1, 0
