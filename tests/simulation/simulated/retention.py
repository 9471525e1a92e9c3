"""What brokers forget: inputs that retention deletes, and offsets that expire."""

from random import Random

from schemas.topics import HOPS
from tests.simulation.log_reader import decode
from tests.simulation.simulated.cluster import INPUTS, SimulatedLog

_CARRY_A_COMMAND = {"reserve", "granted", "refused"}


def expire_decided(log: SimulatedLog, group: str, keep: int) -> None:
    """Delete inputs that are decided, except the last `keep` of each."""
    for place, offset in log.committed[group].items():
        if place[0] in INPUTS:
            partition = log.partitions[place]
            log.delete_before(*place, max(partition.low, min(offset, partition.end) - keep))


def expire_undecided(log: SimulatedLog, group: str, number: int) -> None:
    """Delete the next address messages of a partition, as if nobody had read them for days.

    Nobody answers the commands that these carried: `log.lost` has their ids by user and
    offset. A message that frees an address is kept, because nothing would free it later.
    """
    place = (HOPS.name, number)
    partition = log.partitions[place]
    end = max(partition.low, log.committed[group].get(place, 0))
    while (offset := partition.next_visible(end)) is not None:
        message = decode(partition.entries[offset].value or b"")
        if message["kind"] == "free":
            break
        if message["kind"] in _CARRY_A_COMMAND:
            log.lost[message["user_id"], message["command_offset"]] = message["claim_id"]
        log.has_lost_messages = True
        end = offset + 1
    log.delete_before(*place, end)


def expire_offsets(log: SimulatedLog, group: str, chance: Random, *, older: bool) -> None:
    """Forget offsets of the group, or set them to older ones."""
    committed = log.committed[group]
    for place in sorted(committed):
        if chance.random() < 0.5:
            if older:
                low = log.partitions[place].low
                committed[place] = chance.randint(min(low, committed[place]), committed[place])
            else:
                del committed[place]
