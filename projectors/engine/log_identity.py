"""Refuses a log that a read model was not built from: its positions would mean something else."""

from projectors.contract.read_model import Position, ReadModel
from runtime.topics.log_ranges import LogRange
from schemas.errors import Misconfigured

OTHER_TOPIC = "other_topic"
LOST_LOG = "lost_log"


def check_position(
    model: ReadModel,
    topic: str,
    partition: int,
    position: Position,
    *,
    topic_id: str,
    there: LogRange,
) -> None:
    """Raise `Misconfigured` unless `position` belongs to the present log.

    `other_topic`: the topic was re-created. `lost_log`: the offset is outside the log.
    """
    next_step = f"`rollbook projector rebuild {model.name}` reads the present log"
    if position.topic_id != topic_id:
        raise Misconfigured(
            f"topic {topic} was re-created since {model.name} read it",
            code=OTHER_TOPIC,
            next_step=next_step,
        )
    if not there.low <= position.next_offset <= there.end:
        raise Misconfigured(
            f"{model.name} has read {topic} partition {partition} up to offset "
            f"{position.next_offset}, but the log goes from {there.low} to {there.end}",
            code=LOST_LOG,
            next_step=f"find out why the log was cut; then {next_step}",
        )
