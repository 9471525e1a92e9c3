"""Reads the answers to commands, and which user holds each address afterwards."""

from producers.client import CommandClient
from runtime.settings import Settings
from schemas.records import CommandOutcome, UserEvent
from schemas.topics import EVENTS, OUTCOMES
from scripts.verify.run import run_checks
from tests.observed.log import read
from tests.started.processes import eventually


def _answers(settings: Settings) -> dict[str, CommandOutcome]:
    """Return the outcomes by command id; each command must have exactly one."""
    found: list[CommandOutcome] = [outcome for _, outcome in read(settings, OUTCOMES)]
    assert len({outcome["command_id"] for outcome in found}) == len(found)
    return {outcome["command_id"]: outcome for outcome in found}


def all_answers(settings: Settings, wanted: int) -> dict[str, CommandOutcome]:
    """Return the outcomes once there are as many as wanted."""
    found: dict[str, CommandOutcome] = eventually(
        lambda: found if len(found := _answers(settings)) >= wanted else None,
        timeout_seconds=120,  # the sessions of killed handlers must end first, twice in some tests
        what=f"{wanted} outcomes",
    )
    assert len(found) == wanted
    return found


def holders(settings: Settings) -> dict[str, str]:
    """Return address → user id by the last events; no address may have two users.

    Marks of the format are passed over.
    """
    last: dict[str, UserEvent] = {
        event["user_id"]: event for _, event in read(settings, EVENTS, skip_foreign=True)
    }
    live = [event for event in last.values() if event["user"]]
    held = {event["user"]["email_key"]: event["user_id"] for event in live if event["user"]}
    assert len(held) == len(live)
    return held


def assert_log_is_valid(settings: Settings) -> None:
    """Fail unless every promise holds that `rollbook verify --log-only` checks."""
    broken = [check for check in run_checks(settings, log_only=True) if not check.holds]
    assert not broken, [(check.line(), check.examples) for check in broken]


def create_when_free(client: CommandClient, email: str, name: str = "Next") -> str:
    """Register an address once it becomes free; return the new user's id."""

    def user_id_if_created() -> str | None:
        outcome = client.create_user(email, name, 20)
        assert outcome.accepted or outcome.code == "user_already_exists"
        return outcome.user_id if outcome.accepted else None

    user_id: str = eventually(user_id_if_created, 20, "the address is free")
    return user_id
