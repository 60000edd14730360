"""The rows of the table that are executors': what holds each on SQLite and on Kafka."""

from collections.abc import Sequence
from typing import Final

from tests.faults.table_words import Held, NotThere, faults

CHAOS: Final = "test_chaos.py::test_every_rule_holds_when_"
UP: Final = faults(f"{CHAOS}one_process_ends_at_each_fail_point")
POINTS: Final = faults(f"{CHAOS}services_and_the_broker_come_and_go[points]")
SERVICES: Final = faults(f"{CHAOS}services_and_the_broker_come_and_go[services]")
ALONE: Final = NotThere("the embedded log has one process, which has all partitions")
Sides = tuple[Sequence[Held | NotThere], Sequence[Held | NotThere]]


def _both(test: str) -> Sides:
    """One test on both logs."""
    return [faults(f"{test}[sqlite]")], [faults(f"{test}[kafka]")]


def _poisoned(*names: str) -> Sides:
    """The events that a poison is drawn from."""
    test = (
        "test_misbehaving.py::test_a_poisonous_event_is_a_dead_letter_and_harms_nobody"
    )
    return (
        [faults(f"{test}[sqlite-{name}]") for name in names],
        [faults(f"{test}[kafka-{name}]") for name in names],
    )


EXECUTOR: Final[dict[str, Sides]] = {
    "killed before the first step": ([UP], [POINTS]),
    "killed between steps": ([UP], [POINTS]),
    "killed inside a step, after its effect": ([UP], [POINTS]),
    "killed after a step, before the journal": ([UP], [POINTS]),
    "killed after the journal, before the commit": ([UP], [POINTS]),
    "killed while it writes a dead letter": ([UP], [POINTS]),
    "killed while it restores": ([UP], [POINTS]),
    "frozen past its session, and woken": (
        [UP],
        [
            SERVICES,
            Held(
                "tests/kafka/test_takeover.py::"
                "test_a_new_owner_goes_on_where_the_frozen_one_was"
            ),
            Held(
                "tests/kafka/test_frozen_member.py::"
                "test_a_woken_member_owns_nothing_before_the_group_has_answered"
            ),
        ],
    ),
    "scaled to four and back under load": (
        [ALONE],
        [
            SERVICES,
            faults(
                "test_kafka_line.py::test_order_holds_while_executors_join_and_leave"
            ),
        ],
    ),
    "executors join in a long step": (
        [ALONE],
        [
            faults(
                "test_leaving.py::test_a_step_that_ends_within_the_handover_runs_once"
            ),
            faults(
                "test_leaving.py::test_a_step_that_is_longer_than_the_handover_runs_again"
            ),
        ],
    ),
    "a step longer than the drain of a stop": (
        [
            faults(
                "test_leaving.py::test_a_stop_does_not_wait_for_a_step_that_is_too_long"
            )
        ],
        [
            faults(
                "test_leaving.py::"
                "test_an_executor_does_not_wait_for_a_step_that_is_too_long"
            )
        ],
    ),
    "poisonous payload": _poisoned("wrong-type", "deep", "surrogates", "large"),
    "a step that always fails": _both(
        "test_misbehaving.py::"
        "test_a_step_that_always_fails_is_a_dead_letter_after_its_attempts"
    ),
    "a step that hangs": _both(
        "test_misbehaving.py::test_a_step_that_hangs_is_ended_in_time"
    ),
    "a step that eats memory": _poisoned("eats-memory", "makes-items"),
    "a step that spins": _poisoned("spins"),
    "a flow with a hundred times its neighbours' events": _both(
        "test_misbehaving.py::"
        "test_a_slow_flow_with_a_hundred_times_the_events_delays_nobody"
    ),
    "a slow flow": _both(
        "test_misbehaving.py::"
        "test_a_slow_flow_with_a_hundred_times_the_events_delays_nobody"
    ),
    "a flow changed in mid-event": _both(
        "test_misbehaving.py::test_an_event_ends_on_the_version_that_it_began_with"
    ),
    "dead letters that cannot be written": (
        [
            faults(
                "test_letters_refused.py::"
                "test_a_disk_that_takes_no_letter_stops_the_flow_and_drops_nothing"
            )
        ],
        [
            faults(
                "test_letters_refused.py::"
                "test_a_topic_that_takes_no_letter_stops_the_flow_alone"
            )
        ],
    ),
}
