"""Credentials that are the same on each request: Basic and API keys."""

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from typing import Final, NewType
from urllib.parse import unquote_to_bytes

from hookline.flow import ApiKeyAuth
from hookline.v1 import event_pb2

# Stands for a credential that was right, and is no way to guess it.
Known = NewType("Known", bytes)
KNOWN_KEY: Final = os.urandom(32)


def values_of(request: event_pb2.Request, name: bytes) -> list[bytes]:
    """The values of all headers of a name, given in lower case."""
    return [header.value for header in request.headers if header.name.lower() == name]


def matches_any(sent: bytes, known: Sequence[bytes]) -> bool:
    """Whether one is equal; every one is compared, each in constant time."""
    matched = False
    for one in known:
        matched |= hmac.compare_digest(sent, one)
    return matched


def known(place: str, credential: bytes) -> Known:
    """What stands for a credential, in each version of its flow."""
    return Known(hmac.digest(KNOWN_KEY, place.encode() + b":" + credential, "sha256"))


def which_of(sent: bytes, credentials: Sequence[tuple[bytes, Known]]) -> Known | None:
    """Which one is equal; every one is compared, each in constant time."""
    matched = None
    for one, name in credentials:
        if hmac.compare_digest(sent, one):
            matched = name
    return matched


class BasicCheck:
    """RFC 7617, in UTF-8; a password may hold colons."""

    challenge = 'Basic realm="hookline", charset="UTF-8"'

    def __init__(self, username: str, passwords: Sequence[str]) -> None:
        pairs = [f"{username}:{password}".encode() for password in passwords]
        self._known = [(pair, known("basic", pair)) for pair in pairs]

    def verify_head(self, request: event_pb2.Request) -> str | Known:
        """The head says it all."""
        return self.verify(request)

    def verify(self, request: event_pb2.Request) -> str | Known:
        """Why not; which one it is where user name and password match."""
        sent = values_of(request, b"authorization")
        if len(sent) != 1:
            return f"{len(sent) or 'no'} Authorization headers were sent, one is needed"
        scheme, _, encoded = sent[0].partition(b" ")
        if scheme.lower() != b"basic":
            return "the Authorization header is not of the scheme Basic"
        try:
            pair = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return "the Basic credential is not base64"
        return which_of(pair, self._known) or "user name or password is wrong"

    def begin(self, _request: event_pb2.Request) -> None:
        """The head says it all."""


class ApiKeyCheck:
    """A key in a header or in the query."""

    def __init__(self, auth: ApiKeyAuth, keys: Sequence[str]) -> None:
        self._in_query = auth.in_ == "query"
        self._name = auth.parameter if self._in_query else auth.header.lower()
        place = f"{auth.in_} {self._name}"
        self._keys = [(key.encode(), known(place, key.encode())) for key in keys]
        self.challenge = "" if self._in_query else f'ApiKey name="{self._name}"'

    def verify_head(self, request: event_pb2.Request) -> str | Known:
        """The head says it all."""
        return self.verify(request)

    def verify(self, request: event_pb2.Request) -> str | Known:
        """Why not; which one it is where the key matches."""
        sent = self._sent(request)
        if len(sent) != 1:
            place = "in the query" if self._in_query else "in the headers"
            return f"{self._name} is {len(sent) or 'no'} times {place}, once is needed"
        return which_of(sent[0], self._keys) or f"the key in {self._name} is wrong"

    def begin(self, _request: event_pb2.Request) -> None:
        """The head says it all."""

    def _sent(self, request: event_pb2.Request) -> list[bytes]:
        if not self._in_query:
            return values_of(request, self._name.encode())
        pairs = (pair.partition("=") for pair in request.query.split("&"))
        return [
            unquote_to_bytes(value.replace("+", " "))
            for name, _, value in pairs
            if name == self._name
        ]
