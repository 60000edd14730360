"""Stand-ins of providers on loopback: they check what the real ones would check.

Each keeps what it has accepted in `accepted` and every request in `requests`, and can be
told how to fail the next ones.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from aiohttp import web
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What has come in; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to give instead of the usual one."""

    status: int
    body: bytes | Json = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HangUp:
    """The connection is closed without an answer, before or after the work is done."""

    after: bool


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer ever comes; the work is done."""


Failure = Answer | HangUp | Silence


class StandIn:
    """A server on a free port of 127.0.0.1, an asynchronous context manager."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.accepted: list[Any] = []
        self._failures: list[Failure] = []

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(
            application, handler_cancellation=True, shutdown_timeout=1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()

    def fail(self, failure: Failure, times: int = 1) -> None:
        """Treat the next requests so, before the usual begins again."""
        self._failures += [failure] * times

    def answer(self, request: Request) -> Answer:
        """What a request gets: here always 200 with an object."""
        self.accepted.append(request)
        return Answer(200, {"ok": True})

    async def _receive(self, incoming: web.Request) -> web.StreamResponse:
        failure = self._failures.pop(0) if self._failures else None
        if failure == HangUp(after=False):
            return _hung_up(incoming)
        request = await _read(incoming)
        self.requests.append(request)
        match failure:
            case None:
                return _sent(self.answer(request))
            case Answer():
                return _sent(failure)
            case HangUp():
                self.answer(request)
                return _hung_up(incoming)
            case Silence():
                self.answer(request)
                await asyncio.Event().wait()
                raise AssertionError


async def _read(incoming: web.Request) -> Request:
    path, _, query = incoming.raw_path.partition("?")
    headers = {name.lower(): value for name, value in incoming.headers.items()}
    return Request(incoming.method, path, query, headers, await incoming.read())


def _sent(answer: Answer) -> web.Response:
    if isinstance(answer.body, bytes):
        return web.Response(
            status=answer.status, body=answer.body, headers=answer.headers
        )
    return web.json_response(
        answer.body, status=answer.status, headers=dict(answer.headers)
    )


def _hung_up(incoming: web.Request) -> web.Response:
    if incoming.transport is not None:
        incoming.transport.close()
    return web.Response()


X_KEYS: Final = {
    "consumer_key": "consumer-k",
    "consumer_secret": "consumer&s",
    "access_token": "7-access",
    "access_token_secret": "access/s=",
}
X_BEARER: Final = "bearer-of-x"


class X(StandIn):
    """POST /2/tweets: OAuth 1.0a checked by RFC 5849, or a bearer token."""

    def __init__(self, keys: Mapping[str, str] = X_KEYS) -> None:
        super().__init__()
        self._keys = keys
        self._nonces: set[str] = set()

    def answer(self, request: Request) -> Answer:
        if (request.method, request.path) != ("POST", "/2/tweets"):
            return problem(404, "Not Found", "Not Found")
        if not self._is_authorized(request):
            return problem(401, "Unauthorized", "Unauthorized")
        if request.headers.get("content-type") != "application/json":
            return problem(400, "Invalid Request", "Requests have to be JSON.")
        post = _json(request.body)
        if not set(post) <= {"text", "reply"} or not post.get("text"):
            return problem(400, "Invalid Request", "One or more parameters is invalid.")
        if post["text"] in [one["text"] for one in self.accepted]:
            return X_DUPLICATE
        self.accepted.append(post)
        data = {"id": str(1445880548472328192 + len(self.accepted)), **post}
        return Answer(201, {"data": {**data, "edit_history_tweet_ids": [data["id"]]}})

    def _is_authorized(self, request: Request) -> bool:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer":
            return rest == X_BEARER
        found = re.findall(r'(\w+)="([^"]*)"', rest)
        given = {unquote(name): unquote(value) for name, value in found}
        signature = given.pop("oauth_signature", "")
        fresh = abs(time.time() - int(given.get("oauth_timestamp", 0))) <= 300
        nonce = given.get("oauth_nonce", "")
        once = bool(nonce) and nonce not in self._nonces
        self._nonces.add(nonce)
        return (
            scheme == "OAuth"
            and given.get("oauth_consumer_key") == self._keys["consumer_key"]
            and given.get("oauth_token") == self._keys["access_token"]
            and given.get("oauth_signature_method") == "HMAC-SHA1"
            and fresh
            and once
            and hmac.compare_digest(signature, self._signature(request, given))
        )

    def _signature(self, request: Request, given: Mapping[str, str]) -> str:
        """RFC 5849, 3.4: the base string from the request as it came."""
        pairs = sorted((_encoded(k), _encoded(v)) for k, v in given.items())
        parameters = "&".join(f"{name}={value}" for name, value in pairs)
        address = f"http://{request.headers['host']}{request.path}"
        parts = (request.method, address, parameters)
        base_string = "&".join(_encoded(part) for part in parts)
        key = "&".join(
            _encoded(self._keys[n]) for n in ("consumer_secret", "access_token_secret")
        )
        digest = hmac.digest(key.encode(), base_string.encode(), hashlib.sha1)
        return base64.b64encode(digest).decode()


def _encoded(text: str) -> str:
    return quote(text, safe="-._~")


def problem(status: int, title: str, detail: str, **headers: str) -> Answer:
    """An error as X sends it."""
    body = {"title": title, "detail": detail, "type": "about:blank", "status": status}
    return Answer(
        status, body, {name.replace("_", "-"): v for name, v in headers.items()}
    )


X_DUPLICATE: Final = problem(
    403,
    "Forbidden",
    "You are not allowed to create a Tweet with duplicate content.",
)

TELEGRAM_TOKEN: Final = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
TELEGRAM_CHAT: Final = "-1001234567890"


class Telegram(StandIn):
    """POST /bot<token>/sendMessage, for one bot in one chat."""

    def answer(self, request: Request) -> Answer:
        if not request.path.startswith(f"/bot{TELEGRAM_TOKEN}/"):
            return telegram_error(401, "Unauthorized")
        if not request.path.endswith("/sendMessage"):
            return telegram_error(404, "Not Found")
        sent = _json(request.body)
        if str(sent.get("chat_id")) != TELEGRAM_CHAT:
            return telegram_error(400, "Bad Request: chat not found")
        if not sent.get("text"):
            return telegram_error(400, "Bad Request: message text is empty")
        if len(sent["text"]) > 4096 and "parse_mode" not in sent:
            return telegram_error(400, "Bad Request: message is too long")
        self.accepted.append(sent)
        chat = {"id": int(TELEGRAM_CHAT), "title": "Bank", "type": "supergroup"}
        result = {"message_id": len(self.accepted), "chat": chat, "text": sent["text"]}
        return Answer(200, {"ok": True, "result": result})


def telegram_error(status: int, description: str, **parameters: int) -> Answer:
    """An error as Telegram sends it."""
    body: Json = {"ok": False, "error_code": status, "description": description}
    if parameters:
        body["parameters"] = parameters
    return Answer(status, body)


ERP_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Erp(StandIn):
    """A webhook receiver that checks Standard Webhooks and knows repeats by their id."""

    def __init__(self, secret: str = ERP_SECRET) -> None:
        super().__init__()
        self._webhook = Webhook(secret)
        self.number_by_id: dict[str, str] = {}

    def answer(self, request: Request) -> Answer:
        try:
            self._webhook.verify(request.body, dict(request.headers), json_parse=False)
        except WebhookVerificationError as error:
            return Answer(401, {"error": str(error)})
        message_id = request.headers["webhook-id"]
        if message_id not in self.number_by_id:
            self.accepted.append(_json(request.body))
            self.number_by_id[message_id] = f"SO-{len(self.accepted):05}"
        number = self.number_by_id[message_id]
        return Answer(200, {"status": "booked", "number": number})


def _json(body: bytes) -> Json:
    value = json.loads(body)
    assert isinstance(value, dict)
    return value
