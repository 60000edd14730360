"""What becomes of tests whose needs can't be met."""

import pytest

from tests.needs import required, verdict


@pytest.mark.parametrize(
    ("why_not", "required", "expected"),
    [
        (None, {"kafka"}, "run"),
        (None, set[str](), "run"),
        ("no Java", set[str](), "skip"),
        ("no Java", {"docker"}, "skip"),
        ("no Java", {"kafka"}, "fail"),
        ("no Java", {"docker", "kafka"}, "fail"),
    ],
)
def test_a_need_that_cannot_be_met_skips_its_tests_unless_it_is_required(
    why_not: str | None, required: set[str], expected: str
) -> None:
    """Only a requirement of the same name counts."""
    assert verdict("kafka", why_not, required) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, frozenset[str]()),
        ("", frozenset[str]()),
        ("kafka", frozenset({"kafka"})),
        (" kafka, docker,", frozenset({"kafka", "docker"})),
    ],
)
def test_requirements_are_separated_by_commas(
    value: str | None, expected: frozenset[str]
) -> None:
    """None or an empty one requires nothing."""
    environment = {} if value is None else {"HOOKLINE_REQUIRE": value}

    assert required(environment) == expected
