"""Sends a webhook with the credential that its flow asks for."""

import asyncio
import base64
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hookline.cli.remote import TIMEOUT_S, Metadata, call
from hookline.event import new_event_id
from hookline.flow import ApiKeyAuth, Auth, BasicAuth, Flow, HmacAuth
from hookline.http_client import GuardedClient, OutgoingRequest
from hookline.secrets import Secrets
from hookline.v1 import event_pb2, flow_pb2, flow_pb2_grpc
from services.router.signatures import HmacCheck


@dataclass(frozen=True, slots=True)
class Webhook:
    """What is to be sent."""

    flow_id: str
    method: str
    url: str
    content_type: str
    body: bytes
    headers: Sequence[tuple[str, str]]


ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))  # the user names the address


def send_webhook(webhook: Webhook, router: str, token: str) -> tuple[int, str]:
    """Send it; the answer's status and text. Raises MissingSecret or StepError."""

    async def ask(channel: Any, metadata: Metadata) -> Flow:
        answer = await flow_pb2_grpc.FlowServiceStub(channel).GetFlow(
            flow_pb2.GetFlowRequest(flow_id=webhook.flow_id),
            metadata=metadata,
            timeout=TIMEOUT_S,
        )
        return Flow.model_validate_json(answer.flow.definition)

    flow = call(router, token, ask)
    request = _with_credential(webhook, flow.webhook.auth[0], _secrets())
    return asyncio.run(_send(request))


def _secrets() -> Secrets:
    directory = os.environ.get("HOOKLINE_SECRETS_DIR")
    return Secrets(os.environ, Path(directory) if directory else None)


async def _send(request: OutgoingRequest) -> tuple[int, str]:
    async with GuardedClient(allow=ANYWHERE) as client:
        response = await client.send(request)
    return response.status, response.body.decode(errors="replace")


def _with_credential(webhook: Webhook, auth: Auth, secrets: Secrets) -> OutgoingRequest:
    headers = {"content-type": webhook.content_type, **dict(webhook.headers)}
    url = f"{webhook.url.rstrip('/')}/hook/{webhook.flow_id}"
    match auth:
        case BasicAuth():
            pair = f"{auth.username}:{auth.password[0].resolve(secrets.get)}"
            encoded = base64.b64encode(pair.encode()).decode()
            headers["authorization"] = f"Basic {encoded}"
        case ApiKeyAuth() if auth.in_ == "query":
            url += f"?{auth.parameter}={quote(auth.value[0].resolve(secrets.get))}"
        case ApiKeyAuth():
            headers[auth.header.lower()] = auth.value[0].resolve(secrets.get)
        case HmacAuth():
            headers |= _signature(webhook, auth, secrets)
    return OutgoingRequest(webhook.method, url, headers, webhook.body, TIMEOUT_S)


def _signature(webhook: Webhook, auth: HmacAuth, secrets: Secrets) -> dict[str, str]:
    headers = {}
    if auth.timestamp_header:
        headers[auth.timestamp_header.lower()] = str(int(time.time()))
    if auth.id_header:
        headers[auth.id_header.lower()] = new_event_id()
    request = event_pb2.Request(
        flow_id=webhook.flow_id,
        method=webhook.method,
        body=webhook.body,
        headers=[
            event_pb2.Header(name=name.encode(), value=value.encode())
            for name, value in headers.items()
        ],
    )
    keys = [auth.secret[0].resolve(secrets.get)]
    check = HmacCheck(auth, keys, webhook.url, time.time)
    return {**headers, auth.header.lower(): check.sign(request)}
