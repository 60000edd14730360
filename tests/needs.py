"""What tests need of the machine they run on, each under a marker of its name.

Where a need can't be met, its tests skip with a sentence that says what is missing;
where `HOOKLINE_REQUIRE` names it (CI names all), they fail with that sentence.
"""

import os
from collections.abc import Callable, Collection, Mapping
from typing import Literal

import pytest

from tests import engine, jars, proxies


def no_kafka() -> str | None:
    """Why there is neither a Kafka that `HOOKLINE_TEST_KAFKA` names nor one to start."""
    return None if os.environ.get("HOOKLINE_TEST_KAFKA") else jars.why_not()


# The marker, and what tells why its tests can't run here (None: they can).
NEEDS: Mapping[str, Callable[[], str | None]] = {
    "kafka": no_kafka,
    "docker": engine.why_not,
    "proxies": proxies.why_not,
}


def verdict(
    need: str, why_not: str | None, required: Collection[str]
) -> Literal["run", "skip", "fail"]:
    """What becomes of a test with this need."""
    if why_not is None:
        return "run"
    return "fail" if need in required else "skip"


def required(environment: Mapping[str, str]) -> frozenset[str]:
    """The needs that must be met, from `HOOKLINE_REQUIRE`, separated by commas."""
    words = environment.get("HOOKLINE_REQUIRE", "").split(",")
    return frozenset(word.strip() for word in words if word.strip())


def ensure(need: str, why_not: str | None) -> None:
    """Go on, skip or fail."""
    match verdict(need, why_not, required(os.environ)):
        case "skip":
            pytest.skip(str(why_not))
        case "fail":
            pytest.fail(f"HOOKLINE_REQUIRE has {need}. {why_not}", pytrace=False)


def pytest_configure() -> None:
    """Refuse a misspelt requirement: it would require nothing."""
    if unknown := required(os.environ) - NEEDS.keys():
        raise pytest.UsageError(
            f"HOOKLINE_REQUIRE has {', '.join(sorted(unknown))}; "
            f"tests can need: {', '.join(NEEDS)}"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the fixtures of a test are made."""
    for need, why_not in NEEDS.items():
        if item.get_closest_marker(need):
            ensure(need, why_not())
