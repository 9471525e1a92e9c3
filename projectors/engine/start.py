"""Wires the runner of a read model's version to Kafka and the registry."""

from collections.abc import Callable, Collection
from functools import partial

from projectors.contract.read_model import ReadModel
from projectors.engine.dead_letter_writer import DeadLetterWriter
from projectors.engine.meter import Meter
from projectors.engine.runner import Runner
from projectors.engine.subscription import group_of, subscribe
from runtime.kafka.registry import Registry
from runtime.process import StopSignal
from runtime.settings import Settings
from runtime.tracing import tracing_of
from schemas.topics import DEAD_LETTERS


def open_runner(
    settings: Settings,
    model: ReadModel,
    stopping: StopSignal,
    meter: Meter | None = None,
    *,
    is_paused: Callable[[], bool] = lambda: False,
    traced: bool = False,
    share: Collection[int] | None = None,
) -> Runner:
    """Return the runner of `model` on the real log; it applies nothing while `is_paused`.

    With `traced` it makes spans if that is on. With a `share` it reads these partitions, without
    its group.

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
    subscription = subscribe(settings, topic, group_of(model.name, model.version), share)
    return _new_runner(settings, traced=traced)(
        settings,
        model,
        subscription,
        decode=registry.codec(topic.schema).decode,
        write_letters=letters.write,
        stopping=stopping,
        meter=meter,
        is_paused=is_paused,
    )


def _new_runner(settings: Settings, *, traced: bool) -> Callable[..., Runner]:
    tracing = tracing_of(settings) if traced else None
    if tracing is None:
        return Runner
    from projectors.engine.traced_runner import TracedRunner

    return partial(TracedRunner, tracing=tracing)
