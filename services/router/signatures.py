"""HMAC over the raw body, or over a template of body, head and time.

The digest is computed over bytes as they were sent. A request without a body (GET,
DELETE) is signed by its raw query string, never by nothing. Of a body that comes in pieces
nothing is kept; a template that needs it whole takes none of those (over 256 KiB).
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from hookline.flow import HmacAuth
from hookline.v1 import event_pb2
from services.router.static_credentials import matches_any, values_of

PLACE: Final = re.compile(rb"\{(\w+)\}")
# What comes in pieces is larger. Forms are far smaller.
MOST_WHOLE_BYTES: Final = 256 * 1024
WITHOUT_BODY: Final = frozenset({"GET", "DELETE"})
Part = Callable[[event_pb2.Request], bytes]


class HmacCheck:
    """A signature with one of several keys."""

    challenge = ""

    def __init__(
        self,
        auth: HmacAuth,
        keys: Sequence[str],
        public_url: str,
        now: Callable[[], float],
    ) -> None:
        self._auth = auth
        self._header = auth.header.lower().encode()
        self._prefix = auth.prefix.encode()
        self._public_url = public_url.rstrip("/")
        self._now = now
        # Keyed once: a digest is then a copy and the body.
        self._keyed = [hmac.new(key.encode(), digestmod=auth.algorithm) for key in keys]
        template = auth.template or "{body}"
        parts = self._template(template)
        self._signed = _joined(parts) if auth.template else default_signed
        # Where the body stands, if what is signed can be read from front to back.
        places = [name.decode() for name in PLACE.findall(template.encode())]
        in_order = places.count("body") <= 1 and "sorted_form" not in places
        at = parts.index(_body) if "body" in places else len(parts)
        self._around = (_joined(parts[:at]), _joined(parts[at:])) if in_order else None

    def verify_head(self, request: event_pb2.Request) -> str | None:
        """Why no body could make this signature right; None where one could."""
        sent = self._sent(request)
        return sent if isinstance(sent, str) else None

    def verify(self, request: event_pb2.Request) -> str | None:
        """Why not; None where the digest matches with one of the keys."""
        sent = self._sent(request)
        if isinstance(sent, str):
            return sent
        signed = self._signed(request)
        if not signed and request.method in WITHOUT_BODY:
            return "there is nothing that is signed: no body, and no query"
        return self._compare(sent, self.digests(signed))

    def judge(self, request: event_pb2.Request, digests: list[bytes]) -> str | None:
        """Why not; None where the signature sent is one of these digests."""
        sent = self._sent(request)
        return sent if isinstance(sent, str) else self._compare(sent, digests)

    def _compare(self, sent: bytes, digests: list[bytes]) -> str | None:
        if not matches_any(sent, digests):
            return f"the signature in {self._auth.header} is not that of these bytes"
        return None

    def _sent(self, request: event_pb2.Request) -> bytes | str:
        """The digest that was sent; text where there is none that could be right."""
        found = values_of(request, self._header)
        if len(found) != 1:
            name = self._auth.header
            return f"{name} was sent {len(found) or 'no'} times, once is needed"
        if not found[0].startswith(self._prefix):
            return f"{self._auth.header} does not begin with {self._auth.prefix!r}"
        if (sent := self._decode(found[0])) is None:
            return f"{self._auth.header} is not {self._auth.encoding}"
        return self._stale(request) or sent

    def begin(self, request: event_pb2.Request) -> "InPieces | TooLong":
        """Verify a body as it comes, of a request whose head may pass."""
        if self._around is None:
            return TooLong()
        before, after = (part(request) for part in self._around)
        return InPieces(self, request, self._keyed, before, after)

    def digests(self, signed: bytes) -> list[bytes]:
        """The digest of these bytes with each of the keys."""
        digests = []
        for keyed in self._keyed:
            one = keyed.copy()
            one.update(signed)
            digests.append(one.digest())
        return digests

    def sign(self, request: event_pb2.Request) -> str:
        """The header's value for a request, with the first key."""
        digest = self.digests(self._signed(request))[0]
        match self._auth.encoding:
            case "hex":
                encoded = digest.hex()
            case "base64":
                encoded = base64.b64encode(digest).decode()
            case "base64url":
                encoded = base64.urlsafe_b64encode(digest).decode()
        return self._auth.prefix + encoded

    def _decode(self, value: bytes) -> bytes | None:
        encoded = value[len(self._prefix) :].strip()
        try:
            if self._auth.encoding == "hex":
                return binascii.unhexlify(encoded)
            if self._auth.encoding == "base64url":
                encoded = encoded.replace(b"-", b"+").replace(b"_", b"/")
            padding = b"=" * (-len(encoded) % 4)
            return base64.b64decode(encoded + padding, validate=True)
        except (binascii.Error, ValueError):
            return None

    def _stale(self, request: event_pb2.Request) -> str | None:
        name = self._auth.timestamp_header
        if name is None:
            return None
        sent = values_of(request, name.lower().encode())
        if len(sent) != 1 or not re.fullmatch(rb"\d{1,15}", sent[0]):
            return f"{name} is not one time in seconds since 1970"
        age_s = self._now() - int(sent[0])
        if abs(age_s) > self._auth.tolerance:
            kind = "old" if age_s > 0 else "ahead"
            return (
                f"{name} is {abs(age_s):.0f} s {kind}, the tolerance is "
                f"{self._auth.tolerance:g} s: is a clock wrong?"
            )
        return None

    def _template(self, template: str) -> list[Part]:
        pieces = PLACE.split(template.encode())
        return [
            self._part(piece.decode()) if at % 2 else _literal(piece)
            for at, piece in enumerate(pieces)
        ]

    def _part(self, name: str) -> Part:  # noqa: PLR0911 - a table
        match name:
            case "body":
                return _body
            case "query":
                return lambda request: request.query.encode()
            case "method":
                return lambda request: request.method.encode()
            case "path":
                return lambda request: request.path.encode()
            case "url":
                return self._url
            case "sorted_form":
                return _sorted_form
            case "ts":
                return _header_part(self._auth.timestamp_header or "")
            case _:
                return _header_part(self._auth.id_header or "")

    def _url(self, request: event_pb2.Request) -> bytes:
        query = f"?{request.query}" if request.query else ""
        path = f"/hook/{request.flow_id}{request.path}"
        return f"{self._public_url}{path}{query}".encode()


class InPieces:
    """The signature of a body on its way; nothing of it is kept."""

    def __init__(
        self,
        check: HmacCheck,
        request: event_pb2.Request,
        keyed: Sequence[Any],
        before: bytes,
        after: bytes,
    ) -> None:
        self._check = check
        self._request = request
        self._digests = [one.copy() for one in keyed]
        self._after = after
        self.update(before)

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        for digest in self._digests:
            digest.update(piece)

    def end(self) -> str | None:
        """Why it does not match; None where it does."""
        self.update(self._after)
        digests = [digest.digest() for digest in self._digests]
        return self._check.judge(self._request, digests)


class TooLong:
    """The signature of a body that is needed whole, and too large for that.

    Whoever has no credential gets nothing gathered: what is here whole is not in pieces.
    """

    def update(self, piece: bytes) -> None:
        """Keep nothing of it."""

    def end(self) -> str | None:
        """Why it cannot match."""
        return f"its template needs the body whole, and takes {MOST_WHOLE_BYTES} bytes"


def default_signed(request: event_pb2.Request) -> bytes:
    """The body; without one, for GET and DELETE, the raw query string."""
    if request.method in WITHOUT_BODY and not request.body:
        return request.query.encode()
    return request.body


def _joined(parts: Sequence[Part]) -> Part:
    return lambda request: b"".join(part(request) for part in parts)


def _body(request: event_pb2.Request) -> bytes:
    return request.body


def _literal(piece: bytes) -> Part:
    return lambda _request: piece


def _header_part(name: str) -> Part:
    wanted = name.lower().encode()
    return lambda request: (values_of(request, wanted) or [b""])[0]


def _sorted_form(request: event_pb2.Request) -> bytes:
    """Names and values of a form, sorted by name, all run together (Twilio's way)."""
    pairs = parse_qsl(request.body.decode("latin-1"), keep_blank_values=True)
    return "".join(name + value for name, value in sorted(pairs)).encode()
