"""The example flows, whole: the sample request of each against its provider's stand-in."""

import hashlib
import hmac
import json
from pathlib import Path

from hookline.v1 import execution_pb2
from tests.instance import JSON, running
from tests.standins import (
    ERP_SECRET,
    TELEGRAM_TOKEN,
    X_KEYS,
    Answer,
    Erp,
    HangUp,
    Telegram,
    X,
    telegram_error,
)

FLOWS = Path(__file__).parents[1] / "flows"
SECRETS = {
    "HOOKLINE_SECRET_BLOG": "blog-key",
    "HOOKLINE_SECRET_X_ACCOUNT": json.dumps(X_KEYS),
    "HOOKLINE_SECRET_BANK": "bank-key",
    "HOOKLINE_SECRET_TELEGRAM_BOT": TELEGRAM_TOKEN,
    "HOOKLINE_SECRET_SHOP": "shop-key",
    "HOOKLINE_SECRET_ERP": ERP_SECRET,
}
POST = (
    b'{"type": "post.published",'
    b' "post": {"title": "Hello", "url": "https://blog.example/hello"}}'
)
TRANSACTION = (
    b'<transaction id="tx-1"><amount currency="EUR">-12.50</amount>'
    b"<counterparty>Bakery</counterparty><purpose>Bread</purpose></transaction>"
)
ORDER = b"customer[name]=Ada&sku=A-1&quantity=2&price=6.25"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
SHOP = ("Authorization", "Basic c2hvcDpzaG9wLWtleQ==")


def example(name: str, *changes: tuple[str, str]) -> str:
    """An example flow with its provider at another address."""
    text = (FLOWS / f"{name}.yaml").read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def at(base_url: str) -> tuple[str, str]:
    return (
        "    with:\n      credentials:",
        f"    with:\n      base_url: {base_url}\n      credentials:",
    )


async def test_hello(tmp_path: Path) -> None:
    async with running(tmp_path, example("hello")) as hookline:
        answer = await hookline.send("hello", b'{"name": "Ada"}')

        assert await hookline.result(answer) == {"greeting": "Hello, Ada!"}


async def test_blog_to_x(tmp_path: Path) -> None:
    signature = hmac.new(b"blog-key", POST, hashlib.sha256).hexdigest()
    async with X() as x:
        flow = example("blog-to-x", at(x.url))
        async with running(tmp_path, flow, environment=SECRETS) as hookline:
            signed = ("X-Signature", signature)
            answer = await hookline.send("blog-to-x", POST, [JSON, signed])
            result = await hookline.result(answer)

    assert answer.status == 202
    assert x.accepted == [{"text": "New on the blog: Hello https://blog.example/hello"}]
    assert result["data"]["text"] == x.accepted[0]["text"]


async def test_blog_to_x_does_not_post_twice(tmp_path: Path) -> None:
    signature = hmac.new(b"blog-key", POST, hashlib.sha256).hexdigest()
    async with X() as x:
        x.fail(HangUp(after=True))
        flow = example("blog-to-x", at(x.url))
        async with running(tmp_path, flow, environment=SECRETS) as hookline:
            signed = ("X-Signature", signature)
            answer = await hookline.send("blog-to-x", POST, [JSON, signed])
            ended = await hookline.ends.wait(answer.headers["x-event-id"])

    assert ended.status == execution_pb2.STATUS_FAILED
    assert len(x.requests) == 1


async def test_bank_to_telegram(tmp_path: Path) -> None:
    async with Telegram() as telegram:
        telegram.fail(telegram_error(429, "Too Many Requests", retry_after=0))
        flow = example(
            "bank-to-telegram",
            (
                "    with:\n      token:",
                (
                    "    retry: {initial_interval: 1ms}\n    with:\n"
                    f"      base_url: {telegram.url}\n      token:"
                ),
            ),
        )
        async with running(tmp_path, flow, environment=SECRETS) as hookline:
            key = ("X-Api-Key", "bank-key")
            xml = ("Content-Type", "application/xml")
            answer = await hookline.send("bank-to-telegram", TRANSACTION, [xml, key])
            await hookline.result(answer)

    [sent] = telegram.accepted
    assert sent["text"] == "Bakery: -12.50 EUR (Bread)"


async def test_order_to_erp(tmp_path: Path) -> None:
    async with Erp() as erp:
        erp.fail(Answer(503, headers={"Retry-After": "0"}))
        erp.fail(HangUp(after=True))
        flow = example(
            "order-to-erp",
            ("https://erp.example", erp.url),
            (
                "    use: webhook.send\n",
                "    use: webhook.send\n    retry: {initial_interval: 1ms}\n",
            ),
        )
        async with running(tmp_path, flow, environment=SECRETS) as hookline:
            answer = await hookline.send("order-to-erp", ORDER, [FORM, SHOP])
            result = await hookline.result(answer)

    assert erp.accepted == [
        {"customer": "Ada", "sku": "A-1", "quantity": 2, "total": 12.5}
    ]
    assert result == {"order": "SO-00001", "customer": "Ada", "total": 12.5}
    assert len(erp.requests) == 3
