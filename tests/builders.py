"""Builders with defaults: a message, and a component ready to run."""

from collections.abc import Mapping
from typing import Any

from hookline.components import Component, Resources
from hookline.event import (
    Attachment,
    EventId,
    FlowId,
    InMemory,
    Message,
    Run,
    Trigger,
    Value,
)
from hookline.http_client import HttpClient
from hookline.secrets import Secrets

EVENT_ID = "019a2b3c-4d5e-7f80-9123-456789abcdef"


def message(
    body: Value = None,
    *,
    headers: Mapping[str, str] | None = None,
    attachments: Mapping[str, Attachment] | None = None,
    raw_body: bytes = b"",
    content_type: str = "application/json",
    variables: Mapping[str, Value] | None = None,
    event_id: str = EVENT_ID,
    step_id: str = "step",
) -> Message:
    """A message in the first step of an execution."""
    headers = headers or {}
    raw = InMemory(raw_body)
    trigger = Trigger("POST", "", {}, content_type, raw, headers, body)
    run = Run(
        event_id=EventId(event_id),
        flow_id=FlowId("flow"),
        flow_version=1,
        flow_name="",
        accepted_at_us=1_700_000_000_000_000,
        trigger=trigger,
        variables=variables or {},
    )
    return Message(run, body, headers, attachments or {}, step_id=step_id)


def component(
    kind: Any,
    parameters: Mapping[str, Any],
    http: HttpClient,
    secrets: Mapping[str, str] | None = None,
) -> Component:
    """A component of a class, built as a flow builds it."""
    environment = {f"HOOKLINE_SECRET_{k}": v for k, v in (secrets or {}).items()}
    validated = kind.Parameters.model_validate(
        parameters, context={"secret": Secrets(environment).get}
    )
    built: Component = kind(validated, Resources(http))
    return built
