"""Puts commands on the log without waiting, and tells who holds which address afterwards."""

from collections.abc import Iterable

from confluent_kafka import Producer

from producers.client.command_client import CommandClient, command_partition
from runtime.kafka import producer_config
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.records import CommandOutcome, UserCommand, UserEvent
from schemas.topics import COMMANDS, EVENTS, OUTCOMES
from scripts.verify.cli import run_checks
from tests.log import read
from tests.processes import eventually


def send(settings: Settings, commands: Iterable[UserCommand]) -> None:
    """Put commands on the log, in this order, without waiting for answers."""
    codec = Registry(settings).codec(COMMANDS.schema)
    producer = Producer(producer_config(settings))
    for command in commands:
        producer.produce(
            settings.named(COMMANDS.name),
            codec.encode(command),
            command["command_id"],
            command_partition(command, settings.partitions),
        )
    producer.flush()


def _answers(settings: Settings) -> dict[str, CommandOutcome]:
    """Return the outcomes by command id; each command must have but one."""
    found: list[CommandOutcome] = [outcome for _, outcome in read(settings, OUTCOMES)]
    assert len({outcome["command_id"] for outcome in found}) == len(found)
    return {outcome["command_id"]: outcome for outcome in found}


def all_answers(settings: Settings, wanted: int) -> dict[str, CommandOutcome]:
    """Return the outcomes once there are as many as wanted."""
    found: dict[str, CommandOutcome] = eventually(
        lambda: found if len(found := _answers(settings)) >= wanted else None,
        timeout_seconds=120,  # handlers that were killed are waited for, twice in some tests
        what=f"{wanted} outcomes",
    )
    assert len(found) == wanted
    return found


def holders(settings: Settings) -> dict[str, str]:
    """Return who holds which address, by the last events; no two may hold one."""
    last: dict[str, UserEvent] = {event["user_id"]: event for _, event in read(settings, EVENTS)}
    live = [event for event in last.values() if event["user"]]
    held = {event["user"]["email_key"]: event["user_id"] for event in live if event["user"]}
    assert len(held) == len(live)
    return held


def assert_log_is_right(settings: Settings) -> None:
    """Every promise that `rollbook verify` checks in the topics holds."""
    broken = [check for check in run_checks(settings, log_only=True) if not check.holds]
    assert not broken, [(check.line(), check.examples) for check in broken]


def created_in_time(client: CommandClient, email: str, name: str = "Next") -> str:
    """Register an address that is about to come free; return the new user's id."""

    def created() -> str | None:
        outcome = client.create_user(email, name, 20)
        assert outcome.accepted or outcome.code == "user_already_exists"
        return outcome.user_id if outcome.accepted else None

    user_id: str = eventually(created, 20, "the address comes free")
    return user_id
