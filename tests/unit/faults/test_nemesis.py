"""What the nemesis does on real servers is decided by its seed; here the parts without servers."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from tests.faults.nemesis.faults.table import FAULTS
from tests.faults.nemesis.plan import ONLY_IF_NAMED, ROUNDS, SERVERS, SHORT, TARGETS, plan_of
from tests.faults.nemesis.run import placed
from tests.faults.nemesis.saboteurs import SABOTEURS
from tests.faults.nemesis.workload import Workload
from tests.histories.history import Answer, Asked, History, Query

USER = "01a22057-e841-7000-894f-d17ca020d246"
CREATED = Asked(
    "one", "c-0", "create", 0, 1, Answer(accepted=True, user_id=USER, version=1, partition=2, seq=7)
)


def test_a_seed_always_gives_the_same_plan_and_two_seeds_different_ones() -> None:
    assert plan_of(3) == plan_of(3)
    assert plan_of(3).rounds != plan_of(4).rounds


def test_every_run_has_at_least_three_faults_and_none_twice_at_once() -> None:
    for seed in range(200):
        rounds = plan_of(seed).rounds
        assert len(rounds) == ROUNDS
        assert sum(map(len, rounds)) >= 3
        for steps in rounds:
            assert len({step.target for step in steps}) == len(steps)


def test_every_fault_is_planned_and_can_be_injected() -> None:
    planned = {
        step.fault for seed in range(200) for steps in plan_of(seed).rounds for step in steps
    }
    assert planned == set(TARGETS) - ONLY_IF_NAMED
    assert set(TARGETS) == set(FAULTS)
    assert all(step.target in TARGETS[step.fault] for step in SHORT.rounds[0])


def test_a_plan_can_be_restricted_to_faults_that_are_named() -> None:
    only = sorted(ONLY_IF_NAMED)
    plans = [plan_of(seed, only=only) for seed in range(20)]
    assert {step.fault for plan in plans for steps in plan.rounds for step in steps} == set(only)


def test_handlers_borrow_the_simulations_saboteurs_of_the_product() -> None:
    assert {"claim released early", "ids are not remembered"} < set(SABOTEURS)
    assert "no fencing by the group" not in SABOTEURS  # it breaks the simulated broker
    assert "version guard off" not in SABOTEURS  # it breaks a projector's store


def test_servers_that_others_use_stay_whole() -> None:
    plans = [plan_of(seed, only_processes=True) for seed in range(100)]
    targets = {step.target for plan in plans for steps in plan.rounds for step in steps}
    assert not targets & SERVERS


def test_clients_contend_for_a_few_addresses_and_repeat_commands() -> None:
    workload, chance = Workload(4), Random(1)
    for number in range(500):
        asked = workload.next("one", chance)
        outcome = {"status": "accepted", "user_id": asked.user_id or f"{USER[:-3]}{number:03}"}
        workload.tell(asked, outcome | {"version": 1, "token": f"0:{number + 1}"})
    history = workload.history
    assert {one.kind for one in history.asked} == {"create", "update", "change", "delete", "erase"}
    assert len({one.email.lower() for one in history.asked if one.email}) == 12
    ids = Counter(one.command_id for one in history.asked)
    bodies = {one.body for one in history.asked}
    assert len(ids) < len(bodies) < len(history.asked)
    assert {history.home_of_address(email) for email in workload.pool} == {0, 1, 2, 3}


def test_users_that_are_gone_get_few_commands() -> None:
    workload, chance = Workload(4), Random(1)
    for number in range(3):
        asked = workload.next("one", chance, kinds=("create",))
        outcome = {"status": "accepted", "user_id": f"{USER[:-3]}{number:03}", "version": 1}
        workload.tell(asked, outcome)
    gone = replace(workload.next("one", chance), kind="delete", user_id=f"{USER[:-3]}000")
    workload.tell(gone, {"status": "accepted", "user_id": gone.user_id, "version": 2})
    told = Counter(workload.next("one", chance).user_id for _ in range(1_000))
    assert 0 < told[gone.user_id] < told[f"{USER[:-3]}001"] / 3


def test_a_client_that_fails_leaves_commands_without_an_answer() -> None:
    workload = Workload(4)
    asked = workload.next("one", Random(1))
    workload.give_up()
    workload.give_up()
    assert [(one.command_id, one.answer, one.was_sent) for one in workload.history.asked] == [
        (asked.command_id, None, True)
    ]


def test_new_addresses_and_users_keep_histories_short() -> None:
    workload = Workload(4)
    before = set(workload.pool)
    workload.renew()
    assert not before & set(workload.pool)
    assert workload.question(Random(1)) is None


def test_other_addresses_are_taken_once_unknown_users_hold_them_all() -> None:
    """Users that were imported, or whose creation was never answered, cannot be deleted."""
    workload, chance = Workload(4), Random(1)
    before = set(workload.pool)
    for _ in range(len(before) + 1):
        assert set(workload.pool) == before
        asked = workload.next("one", chance, kinds=("create",))
        workload.tell(asked, {"status": "rejected", "code": "user_already_exists"})
    assert not before & set(workload.pool)


@pytest.mark.parametrize(
    ("asked_at", "answer", "found", "version"),
    [
        (1.0, Answer(accepted=True, version=4), [], 4),
        (1.0, None, [Answer(accepted=True, version=4)], 4),
        (1.0, None, [], None),
        (9.0, Answer(accepted=True, version=4), [], None),
        (1.0, Answer(accepted=False, version=4, code="version_conflict"), [], None),
    ],
)
def test_a_query_that_misses_its_user_shows_the_end_of_the_user(
    asked_at: float, answer: Answer | None, found: list[Answer], version: int | None
) -> None:
    """Only one that can have been decided by then: a user whom nobody deleted must be found."""
    history = History(4, found={"c-1": found})
    history.asked = [CREATED, Asked("one", "c-1", "delete", asked_at, 9.5, answer, user_id=USER)]
    history.queries = [Query("two", USER, 2.0, 3.0, {2: 7}, None)]
    assert [query.version for query in placed(history)] == [version]


@pytest.mark.parametrize(
    ("earlier", "tokens", "forgets", "version"),
    [
        (Query("two", USER, 1.0, 1.5, {}, 1, model="postgres"), {}, False, 4),
        (Query("two", USER, 1.0, 1.5, {}, 1, model="postgres"), {}, True, None),
        (Query("two", USER, 1.0, 1.5, {}, 1, model="history"), {}, False, None),
        (Query("two", USER, 1.0, 1.5, {2: 7}, None, model="postgres"), {}, False, 4),
        (Query("two", USER, 1.0, 1.5, {}, None, model="postgres"), {2: 6}, False, None),
        (Query("two", USER, 1.0, 1.5, {}, None, model="postgres"), {2: 7}, True, 4),
    ],
)
def test_a_read_model_that_is_behind_need_not_know_the_user_yet(
    *, earlier: Query, tokens: dict[int, int], forgets: bool, version: int | None
) -> None:
    """So a query that misses the user shows its end only if it must have seen the beginning."""
    history = History(4, found={}, forgets_reads=forgets)
    answer = Answer(accepted=True, version=4)
    history.asked = [CREATED, Asked("one", "c-1", "delete", 1.0, 9.5, answer, user_id=USER)]
    history.queries = [earlier, Query("two", USER, 2.0, 3.0, tokens, None, model="postgres")]
    assert [query.version for query in placed(history)][1] == version
