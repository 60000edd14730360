"""Readiness, and what gRPC's health and the admin port make of it."""

from hookline.cli.admin import readiness_answer
from hookline.cli.readiness import Readiness


async def test_a_service_is_ready_when_it_has_started_and_has_all_it_needs() -> None:
    """What is missing is named, with a sentence."""
    readiness = Readiness()
    there = False
    readiness.need("log", "the log does not answer", lambda: there)
    before = readiness.missing()
    readiness.start()
    without = await readiness_answer(readiness)
    there = True

    assert list(before) == ["service"]
    assert without[0] == 503
    assert without[1]["missing"] == {"log": "the log does not answer"}
    assert await readiness_answer(readiness) == (200, {"status": "ready"})


async def test_a_service_that_was_told_to_stop_is_not_ready() -> None:
    """At once, whatever it has."""
    readiness = Readiness()
    readiness.start()
    readiness.stop()

    await readiness.wait_stop()
    assert (readiness.ready, readiness.able) == (False, False)


async def test_what_a_start_waits_for_is_told() -> None:
    """The admin port is open before the log is."""
    readiness = Readiness()
    readiness.start_waits_for = "it waits for kafka://one:1"

    assert readiness.missing() == {"service": "it waits for kafka://one:1"}
