"""Wires the runner of a read model's version to Kafka and the registry."""

from projectors.contract.read_model import ReadModel
from projectors.engine.dead_letter_writer import DeadLetterWriter
from projectors.engine.meter import Meter
from projectors.engine.runner import Runner
from projectors.engine.subscription import subscribe
from runtime.process import StopSignal
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.topics import DEAD_LETTERS


def group_of(read_model: str, version: int) -> str:
    """Return the consumer group of a version, without the prefix."""
    return f"rollbook-projector-{read_model}-{version}"


def open_runner(
    settings: Settings, model: ReadModel, stopping: StopSignal, meter: Meter | None = None
) -> Runner:
    """Return the runner of `model` on the real log.

    Only the registry must be available: raises `Unavailable` if it is not.
    """
    registry = Registry(settings)
    topic = model.source.topic
    letters = DeadLetterWriter(
        settings,
        registry.codec(DEAD_LETTERS.schema),
        reader=f"projector:{model.name}",
        topic=settings.named(topic.name),
    )
    subscription = subscribe(settings, topic, group_of(model.name, model.version))
    return Runner(
        settings,
        model,
        subscription,
        decode=registry.codec(topic.schema).decode,
        write_letters=letters.write,
        stopping=stopping,
        meter=meter,
    )
