"""The failures that are promised to do no harm, a row each, and the tests that hold them.

`make test-faults` runs what is named here; `python -m tests.faults.table` prints it.
A test without its parameters stands for all of them. Where a row does not apply to a
log, it says why.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from tests.faults.table_of_executors import EXECUTOR
from tests.faults.table_words import Held, NotThere, faults, kafka

EMBEDDED_ALONE: Final = NotThere("on Kafka the log's files are the brokers' own")
ONE_PROCESS: Final = NotThere("edge, router and log are one process: they end together")
NO_BROKER: Final = NotThere("there is no broker; its disk is in the rows of SQLite")
CHAOS: Final = "test_chaos.py::test_every_rule_holds_when_"
UP: Final = faults(f"{CHAOS}one_process_ends_at_each_fail_point")
POINTS: Final = faults(f"{CHAOS}services_and_the_broker_come_and_go[points]")
SERVICES: Final = faults(f"{CHAOS}services_and_the_broker_come_and_go[services]")
OF_THREE: Final = faults(f"{CHAOS}brokers_of_three_come_and_go")
AWAY: Final = "test_kafka_line.py::test_nothing_is_lost_while_the_broker_is_away"


class Row(NamedTuple):
    """What holds a failure on each log."""

    sqlite: Sequence[Held | NotThere]
    kafka: Sequence[Held | NotThere]


EDGE: Final = {
    "ingress killed before it forwards": Row([UP], [POINTS]),
    "ingress killed between the router's answer and its own": Row([UP], [POINTS]),
    "router killed with the record unsent": Row([UP], [POINTS]),
    "router killed with the record in flight": Row([UP], [POINTS]),
    "router killed with the record durable and not answered": Row([UP], [POINTS]),
    "restarts in turn, under load": Row(
        [faults("test_rolling.py::test_restarts_of_one_process_fail_no_keyed_request")],
        [
            faults(
                "test_rolling.py::"
                "test_restarts_of_routers_and_ingresses_fail_no_keyed_request"
            )
        ],
    ),
    "caller gone in mid-body": Row(
        [faults("test_misbehaving.py::test_callers_that_leave_harm_nobody[sqlite]")],
        [faults("test_misbehaving.py::test_callers_that_leave_harm_nobody[kafka]")],
    ),
    "caller gone while it waits": Row(
        [faults("test_misbehaving.py::test_callers_that_leave_harm_nobody[sqlite]")],
        [faults("test_misbehaving.py::test_callers_that_leave_harm_nobody[kafka]")],
    ),
    "byte bound reached": Row(
        [
            faults("test_disk.py::test_too_much_waiting_is_refused_at_once"),
            Held(
                "tests/test_bounds_in_one_process.py::"
                "test_what_waits_for_the_log_is_bounded"
            ),
        ],
        [
            faults(
                "test_byte_bounds.py::test_byte_bounds_hold_while_the_broker_is_frozen"
            )
        ],
    ),
}
BROKERS: Final = {
    "broker stopped for 30 s, longer than an append may take": Row(
        [NO_BROKER], [faults(f"{AWAY}[stopped-30s]")]
    ),
    "broker stopped for a moment": Row(
        [NO_BROKER], [faults(f"{AWAY}[stopped-shortly]")]
    ),
    "broker frozen for 20 s": Row(
        [NO_BROKER], [faults(f"{AWAY}[frozen-20s]"), SERVICES, OF_THREE]
    ),
    "leader killed again and again": Row(
        [NO_BROKER],
        [
            OF_THREE,
            faults(
                "test_kafka_line.py::"
                "test_nothing_is_lost_when_one_broker_of_three_is_killed"
            ),
        ],
    ),
    "partition without a leader": Row(
        [NO_BROKER],
        [
            faults(
                "test_kafka_line.py::"
                "test_a_partition_without_a_leader_holds_nobody_else"
            )
        ],
    ),
    "all brokers restarted": Row([NO_BROKER], [OF_THREE]),
    "fewer in sync than min.insync.replicas": Row([NO_BROKER], [OF_THREE]),
    "a record refused by the broker, then others": Row(
        [NO_BROKER],
        [
            kafka("test_a_record_that_the_broker_refuses_harms_nobody_else"),
            kafka("test_a_record_that_is_not_allowed_harms_nobody_else"),
        ],
    ),
    "answer lost after the broker has applied": Row(
        [NO_BROKER], [faults(f"{CHAOS}the_brokers_answers_are_lost")]
    ),
    "number of partitions changed": Row(
        [faults("test_disk.py::test_another_number_of_partitions_is_refused")],
        [
            kafka("test_topics_that_break_a_promise_are_refused_at_the_start"),
            faults(
                "test_partitions_added.py::test_order_holds_when_partitions_are_added"
            ),
        ],
    ),
    "commit expired, or trimmed away": Row(
        [NotThere("commits do not expire; a trim stops at what is needed")],
        [kafka("test_what_is_missing_in_the_log_is_never_jumped_over")],
    ),
    "group deleted": Row(
        [NotThere("the group's commits are in the log's own file")],
        [kafka("test_a_group_whose_commits_are_gone_runs_nothing_again")],
    ),
}
SQLITE: Final = {
    "kill -9 in mid-commit, some hundred times": Row(
        [
            faults(
                "test_mid_commit.py::"
                "test_nothing_durable_is_lost_by_two_hundred_kills_in_mid_commit"
            ),
            faults(
                "test_kill.py::"
                "test_what_was_accepted_is_executed_in_order_through_twenty_kills"
            ),
        ],
        [EMBEDDED_ALONE],
    ),
    "input/output errors, and no space": Row(
        [
            faults(
                "test_disk.py::"
                "test_appends_fail_while_the_disk_does_and_work_again_after"
            ),
            faults(
                "test_disk.py::"
                "test_webhooks_get_503_meanwhile_and_all_2xx_events_are_there"
            ),
            faults("test_disk.py::test_a_disk_that_hangs_is_503_in_the_deadline"),
            UP,
        ],
        [EMBEDDED_ALONE],
    ),
    "power cut": Row(
        [faults("test_power.py::test_a_power_cut_loses_nothing_that_was_accepted")],
        [EMBEDDED_ALONE],
    ),
    "second process": Row(
        [faults("test_disk.py::test_a_second_process_on_the_directory_is_refused")],
        [EMBEDDED_ALONE],
    ),
    "corrupted byte": Row(
        [
            faults("test_disk.py::test_a_damaged_record_is_noticed"),
            faults("test_disk.py::test_a_file_that_is_no_log_is_said_to_be_none"),
        ],
        [kafka("test_a_record_that_cannot_be_read_holds_its_partition_alone")],
    ),
    "directory that may only be read": Row(
        [
            faults(
                "test_read_only.py::test_a_directory_that_may_only_be_read_is_refused"
            ),
            faults(
                "test_read_only.py::"
                "test_a_log_whose_directory_may_only_be_read_is_refused"
            ),
        ],
        [EMBEDDED_ALONE],
    ),
    "backup while it is written": Row(
        [
            faults(
                "test_backup.py::test_a_backup_has_all_that_was_durable_when_it_began"
            ),
            faults("test_backup.py::test_hookline_runs_on_what_the_command_has_made"),
        ],
        [EMBEDDED_ALONE],
    ),
}
AT_THE_ROUTER: Final = "tests/test_dedupe_at_the_router.py::"
TWO_ROUTERS: Final = Held(
    "tests/kafka/test_dedupe_on_kafka.py::test_a_key_runs_once_whoever_takes_it"
)
REPEATS: Final = {
    "same key a hundred times at once": Row(
        [Held(f"{AT_THE_ROUTER}test_a_hundred_at_once_are_one_event")], [TWO_ROUTERS]
    ),
    "same key with another body": Row(
        [
            Held(f"{AT_THE_ROUTER}test_another_body_is_a_conflict"),
            Held(
                "tests/test_dedupe.py::"
                "test_another_body_after_a_restart_is_a_conflict_in_the_journal"
            ),
        ],
        [NotThere("a key is judged above the log, alike on both")],
    ),
    "same key after a failover": Row(
        [
            faults("test_dedupe.py::test_a_key_is_executed_once_through_kills"),
            Held("tests/test_dedupe.py::test_a_repeat_after_a_restart_runs_nothing"),
        ],
        [TWO_ROUTERS],
    ),
    "same key after its window": Row(
        [
            Held("tests/test_dedupe.py::test_the_window_is_counted_from_the_first"),
            Held(f"{AT_THE_ROUTER}test_a_key_is_forgotten_after_its_window"),
        ],
        [NotThere("a key is judged above the log, alike on both")],
    ),
}
BACKLOGS: Final = {
    "held flow with tens of thousands of events behind it": Row(
        [
            Held(
                "tests/test_parking.py::"
                "test_a_long_backlog_behind_a_held_event_costs_its_neighbours_nothing"
            )
        ],
        [
            Held(
                "tests/kafka/test_parking_on_kafka.py::"
                "test_a_held_flow_holds_nobody_and_goes_on_where_it_was"
            )
        ],
    ),
}
ROWS: Final = {
    **EDGE,
    **BROKERS,
    **{name: Row(*held) for name, held in EXECUTOR.items()},
    **SQLITE,
    **REPEATS,
    **BACKLOGS,
}
# What judges the judges: builds with a planted fault must not pass.
CONTROLS: Final = (
    faults("test_planted.py::test_the_checker_catches"),
    faults("test_power.py::test_a_log_that_syncs_too_little_is_caught"),
)


def node_ids() -> Iterator[str]:
    """The node ids of all that is named, each once."""
    named = [held for row in ROWS.values() for side in row for held in side]
    ids = [one.test for one in (*named, *CONTROLS) if isinstance(one, Held)]
    yield from dict.fromkeys(ids)


if __name__ == "__main__":
    print("\n".join(node_ids()))  # noqa: T201 - what make runs
