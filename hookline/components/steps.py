"""A flow's steps with their components: checked when applied, built when run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from hookline.components import Component, Resources
from hookline.flow import Flow, Retry, Step
from hookline.mistakes import Place, nearest, sentences
from hookline.template import Template, secret_names_in

Types = Mapping[str, type[Component]]


@dataclass(frozen=True, slots=True)
class BoundStep:
    """A step ready to run."""

    id: str
    component: Component
    when: Template | None
    timeout_s: float
    retry: Retry


def check_steps(flow: Flow, types: Types) -> Iterator[tuple[Place, str]]:
    """The mistakes in what steps say to their components, each with its place."""
    seen: set[str] = set()
    for name, steps in (("steps", flow.steps), ("on_error", flow.on_error)):
        for number, step in enumerate(steps):
            if step.id in seen:
                yield (name, number, "id"), f"there is a step {step.id!r} already"
            seen.add(step.id)
            for place, text in _check_step(step, types):
                yield (name, number, *place), text


def _check_step(step: Step, types: Types) -> Iterator[tuple[Place, str]]:
    kind = types.get(step.use)
    if kind is None:
        hint = nearest(step.use, list(types))
        yield ("use",), f"there is no component {step.use!r}: {hint}"
        return
    try:
        kind.Parameters.model_validate(step.with_)
    except ValidationError as error:
        for place, text in sentences(kind.Parameters, error):
            yield ("with", *place), text


def build_steps(
    steps: Sequence[Step],
    resources: Resources,
    secret: Callable[[str], str],
    types: Types,
) -> tuple[BoundStep, ...]:
    """Steps of a checked flow. `secret` looks secrets up when they are used."""
    return tuple(_build(step, types[step.use], resources, secret) for step in steps)


def _build(
    step: Step,
    kind: type[Component],
    resources: Resources,
    secret: Callable[[str], str],
) -> BoundStep:
    parameters = kind.Parameters.model_validate(step.with_, context={"secret": secret})
    return BoundStep(
        step.id, kind(parameters, resources), step.when, step.timeout, step.retry
    )


def secret_names(flow: Flow) -> frozenset[str]:
    """The names of all secrets that a flow's trigger and steps use."""
    names = set(
        secret_names_in([dict(step.with_) for step in (*flow.steps, *flow.on_error)])
    )
    for auth in flow.webhook.auth:
        for _, value in auth:
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, Template):
                    names |= one.secret_names
    return frozenset(names)
