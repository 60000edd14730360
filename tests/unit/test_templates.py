"""Templates and expressions: what a flow file writes becomes a value, within bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.errors import MissingSecret, TerminalError
from hookline.expression import ExpressionError, compile_expression
from hookline.secrets import Secrets
from hookline.template import Template
from tests.builders import message

BIG = 9_007_199_254_740_993


def value(source: Any, body: Any = None) -> Any:
    return Template.compile(source).value(message(body))


def test_literals_stay_and_expressions_are_evaluated_at_any_depth() -> None:
    source = {"a": ["x", "=body.n + 1", {"b": "=='quoted'"}], "c": 5, "d": None}

    assert value(source, {"n": 1}) == {
        "a": ["x", 2, {"b": "='quoted'"}],
        "c": 5,
        "d": None,
    }


def test_numbers_pass_through_untouched() -> None:
    assert value("=body.n", {"n": BIG}) == BIG
    assert value({"all": "=body"}, [BIG]) == {"all": [BIG]}


def test_a_secret_is_looked_up_when_it_is_used() -> None:
    environment: dict[str, str] = {}
    template = Template.compile("Bearer ${secret:KEY}", Secrets(environment).get)

    with pytest.raises(MissingSecret, match="HOOKLINE_SECRET_KEY"):
        template.value(message())
    environment["HOOKLINE_SECRET_KEY"] = "k"
    assert template.value(message()) == "Bearer k"


@pytest.mark.parametrize(
    "source", ["='x' & ${secret:A}", "${secret:A-B}", "=body.(", {"a": ["=("]}]
)
def test_what_cannot_be_compiled_is_told_when_it_is_loaded(source: Any) -> None:
    with pytest.raises(ValueError, match=r"secret|JSONata"):
        Template.compile(source)


def test_a_body_cannot_name_a_secret() -> None:
    template = Template.compile("=body", Secrets({"HOOKLINE_SECRET_A": "s"}).get)

    assert template.value(message("${secret:A}")) == "${secret:A}"


@pytest.mark.parametrize(
    "source",
    [
        "($f := function($n) { $f($n + 1) }; $f(0))",
        "[1..1000000000]",
        "($f := function($s) { $f($s & $s) }; $f('xx'))",
    ],
)
def test_an_expression_has_bounds(source: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(source).evaluate({})


@pytest.mark.parametrize("body", [1, {"a": 1}, [True], True, None])
def test_a_condition_is_true_or_false_or_nothing(body: Any) -> None:
    template = Template.compile("=body")

    if body is True or body is None:
        assert template.truth(message(body)) is bool(body)
    else:
        with pytest.raises(TerminalError, match="true or false"):
            template.truth(message(body))


NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, VALUES), st.lists(NAMES, min_size=1, max_size=4))
def test_a_plain_path_means_what_the_evaluator_says(
    scope: dict[str, Any], path: list[str]
) -> None:
    """The short way and JSONata's own agree on every document."""
    expression = compile_expression(".".join(path))

    assert expression.path == tuple(path)
    assert expression.evaluate(scope) == expression.compiled.evaluate(scope)
