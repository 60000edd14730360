"""The example flows: each is a flow, and its steps do what its header tells."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML  # noqa: TID251 - read here without the product's reader

from hookline.components import component_types
from hookline.flow import Flow
from hookline.http_client import GuardedClient
from tests.builders import component, message

FILES = sorted((Path(__file__).parents[2] / "flows").glob("*.yaml"))


def load(path: Path) -> Flow:
    return Flow.model_validate(YAML(typ="safe").load(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_example_is_a_flow_of_known_steps(path: Path) -> None:
    flow = load(path)

    assert flow.id == path.stem
    for step in flow.steps:
        component_types()[step.use].Parameters.model_validate(dict(step.with_))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_example_names_its_secrets_and_a_sample(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    header = text[: text.index("\nid:")]
    for name in text.split("${secret:")[1:]:
        assert f"HOOKLINE_SECRET_{name.partition('}')[0]} " in header
    assert f"curl -i http://127.0.0.1:8080/hook/{path.stem} " in header


async def run_pure(name: str, body: Any, variables: Mapping[str, Any]) -> Any:
    """The body after a flow's first steps that are pure."""
    flow = next(load(path) for path in FILES if path.stem == name)
    current = message(body, variables=variables)
    for step in flow.steps:
        if step.use not in {"transform", "filter"}:
            break
        kind = component_types()[step.use]
        built = component(kind, step.with_, GuardedClient())
        [current] = await built.run(current)
    return current.body


async def test_hello_greets() -> None:
    assert await run_pure("hello", {"name": "Ada"}, {}) == {"greeting": "Hello, Ada!"}


async def test_the_order_is_made_of_the_form() -> None:
    form = {"customer": {"name": "Ada"}, "sku": "A-1", "quantity": "2", "price": "6.25"}
    order = await run_pure("order-to-erp", form, {})

    assert order == {"customer": "Ada", "sku": "A-1", "quantity": 2, "total": 12.5}


async def test_the_transaction_is_read_from_xml() -> None:
    transaction = {
        "_attr": {"id": "tx-1"},
        "amount": {"_attr": {"currency": "EUR"}, "_": "-12.50"},
        "counterparty": "Bakery",
        "purpose": "Bread",
    }
    read = await run_pure("bank-to-telegram", {"transaction": transaction}, {})

    assert read == {
        "amount": "-12.50",
        "currency": "EUR",
        "counterparty": "Bakery",
        "purpose": "Bread",
    }
