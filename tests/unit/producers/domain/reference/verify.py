"""The checks of `rollbook verify` on a simulated log: they must find nothing wrong in it."""

from collections.abc import Iterator
from random import Random

from schemas.errors import Poisoned
from schemas.letters import Letters, letter_of
from schemas.records import CHANGE_EMAIL, DeadLetter
from schemas.topics import COMMANDS, EMAILS, EVENTS, HISTORY, OUTCOMES
from scripts.verify.checks.claims import Claim, ClaimChecks, fold_claims
from scripts.verify.checks.decisions import Command, Decided, DecisionChecks
from scripts.verify.checks.log import LogChecks
from scripts.verify.facts import Check, Entry
from tests.unit.producers.domain.reference.log import CODECS, PartitionLog, Record, Window


def entries(number: int, topic: str, records: list[Record]) -> Iterator[Entry]:
    """Return records as the verifier reads them."""
    for offset, key, value in records:
        record = None if value is None else CODECS[topic].decode(value)
        yield Entry(number, offset, key, record)


def verified(
    logs: list[PartitionLog], window: Window, random: Random, *, decisions: bool
) -> list[Check]:
    """Return every check of logs without messages in transit, each topic compacted at random."""
    log, decided = LogChecks(len(logs)), DecisionChecks(*window)
    claims: list[Claim] = []
    letters: list[DeadLetter] = []
    for number, topics in enumerate(logs):
        history = topics.compacted(HISTORY.name, random)
        events = topics.compacted(EVENTS.name, random)
        facts = log.history(number, entries(number, HISTORY.name, history))
        log.events(number, entries(number, EVENTS.name, events))
        log.compare_topics(number)
        emails = entries(number, EMAILS.name, topics.compacted(EMAILS.name, random))
        claims += fold_claims(emails).values()
        asked = list(entries(number, COMMANDS.name, topics.topics[COMMANDS.name]))
        letters += [_letter(entry) for entry in asked if " " in entry.record["command_id"]]
        answers = list(entries(number, OUTCOMES.name, topics.topics[OUTCOMES.name]))
        outcomes = [o for entry in answers if (o := decided.outcome_entry(entry)) is not None]
        commands = [
            Command(e.offset, e.record["command_id"], e.record["kind"] == CHANGE_EMAIL)
            for e in asked
        ]
        end = len(commands)
        story = Decided(number, facts, outcomes, commands, end, end, erased=log.erasures())
        decided.partition(story)
    checks = ClaimChecks(len(logs))
    checks.finish(claims, log.users, [checks.suspects(claims, log.users, frozenset())])
    decided.finish(Letters(letters), COMMANDS.name)
    log.finish()
    return [*log.checks(), *checks.checks(), *(decided.checks() if decisions else [])]


def _letter(entry: Entry) -> DeadLetter:
    poison = Poisoned("", code="bad_command_id")
    place = (COMMANDS.name, entry.partition, entry.offset)
    return letter_of(*place, reader="handler", poison=poison, now=0)
