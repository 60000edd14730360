"""Signatures of outgoing webhooks: Standard Webhooks, or HMAC as triggers verify it."""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import replace
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from hookline import components
from hookline.errors import TerminalError
from hookline.event import Message, check_held
from hookline.flow import Secret, SecretList
from hookline.http_client import OutgoingRequest

PLACE: Final = re.compile(r"\{(\w+)\}")
PLACES: Final = frozenset({"body", "ts", "id", "url", "method", "query"})
MOST_SIGNED_BYTES: Final = 16 * 1024 * 1024
WITHOUT_BODY: Final = frozenset({"GET", "DELETE"})


class StandardSignature(components.Parameters):
    """Standard Webhooks, symmetric (v1); every secret signs, for rotation.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """

    type: Literal["standard"]
    secret: SecretList

    def headers(
        self, request: OutgoingRequest, message: Message, now_s: int
    ) -> dict[str, str]:
        """The headers that sign a request."""
        message_id = message.idempotency_key
        signed = b"%s.%d.%s" % (message_id.encode(), now_s, request.body)
        signatures = [
            base64.b64encode(hmac.digest(_key(secret, message), signed, "sha256"))
            for secret in self.secret
        ]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": " ".join(f"v1,{one.decode()}" for one in signatures),
        }

    def secrets(self, message: Message) -> list[str]:
        """What must not be repeated in errors."""
        return [secret.text(message) for secret in self.secret]


class HmacSignature(components.Parameters):
    """A digest over the body, or over a template, as a trigger's hmac credential.

    `template` may hold {body} {ts} {id} {url} {method} {query}. Without one it is {body},
    for GET and DELETE the raw query string.
    """

    type: Literal["hmac"]
    secret: Secret
    header: str = Field("x-eio-signature", min_length=1)
    algorithm: Literal["sha256", "sha512", "sha1"] = "sha256"
    encoding: Literal["hex", "base64", "base64url"] = "hex"
    prefix: str = ""
    template: str | None = None
    timestamp_header: str | None = None
    id_header: str | None = None

    @model_validator(mode="after")
    def _verifiable(self) -> Self:
        named = set(PLACE.findall(self.template or ""))
        if unknown := sorted(named - PLACES):
            raise ValueError(
                f"the template names {', '.join(unknown)}; it may name "
                f"{', '.join(sorted(PLACES))}"
            )
        if "ts" in named and not self.timestamp_header:
            raise ValueError("{ts} needs timestamp_header: nobody could verify it")
        if "id" in named and not self.id_header:
            raise ValueError("{id} needs id_header: nobody could verify it")
        return self

    def headers(
        self, request: OutgoingRequest, message: Message, now_s: int
    ) -> dict[str, str]:
        """The headers that sign a request."""
        key = self.secret.text(message).encode()
        digest = hmac.new(
            key,
            self._signed(request, message, now_s),
            getattr(hashlib, self.algorithm),
        ).digest()
        headers = {self.header.lower(): self.prefix + self._encoded(digest)}
        if self.timestamp_header:
            headers[self.timestamp_header.lower()] = str(now_s)
        if self.id_header:
            headers[self.id_header.lower()] = message.idempotency_key
        return headers

    def secrets(self, message: Message) -> list[str]:
        """What must not be repeated in errors."""
        return [self.secret.text(message)]

    def _signed(self, request: OutgoingRequest, message: Message, now_s: int) -> bytes:
        query = urlsplit(request.url).query.encode()
        if self.template is None:
            return query if request.method in WITHOUT_BODY else request.body
        values = {
            "body": request.body,
            "ts": str(now_s).encode(),
            "id": message.idempotency_key.encode(),
            "url": request.url.encode(),
            "method": request.method.encode(),
            "query": query,
        }
        parts = PLACE.split(self.template)
        literals = [part.encode() for part in parts]
        literals[1::2] = [values[name] for name in parts[1::2]]
        return b"".join(literals)

    def _encoded(self, digest: bytes) -> str:
        match self.encoding:
            case "hex":
                return digest.hex()
            case "base64":
                return base64.b64encode(digest).decode()
            case "base64url":
                return base64.urlsafe_b64encode(digest).decode()


async def with_body_at_hand(request: OutgoingRequest) -> OutgoingRequest:
    """The request with its body in memory, as its signature needs it.

    Raises TerminalError where it is too large for that.
    """
    streamed = request.streamed
    if streamed is None:
        return request
    check_held(streamed.size, MOST_SIGNED_BYTES)
    body = b"".join([piece async for piece in streamed.read()])
    return replace(request, body=body, streamed=None)


Signature = Annotated[StandardSignature | HmacSignature, Field(discriminator="type")]


def _key(secret: Secret, message: Message) -> bytes:
    encoded = secret.text(message).removeprefix("whsec_").rstrip("=")
    padding = "=" * (-len(encoded) % 4)
    try:
        key = base64.b64decode(encoded + padding, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        names = ", ".join(sorted(secret.secret_names))
        raise TerminalError(f"the secret {names} is not whsec_ followed by base64")
    return key
