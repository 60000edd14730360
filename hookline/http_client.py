"""The one way out: HTTP requests to other systems, guarded and bounded."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from types import TracebackType
from typing import Final, Protocol, Self

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DefaultResolver,
    DummyCookieJar,
    InvalidURL,
    ServerDisconnectedError,
    TCPConnector,
    TraceConfig,
)
from aiohttp.abc import AbstractResolver
from yarl import URL

from hookline.egress import AddressRefused, Guard, GuardedResolver, Network
from hookline.errors import Error, RetryableError, StepError, TerminalError

BODY_LIMIT_BYTES: Final = 1024 * 1024
CONNECT_TIMEOUT_S: Final = 10.0
LAST_PORT: Final = 65535
# Narrower than RFC 3986, so that no two readers of it can see different hosts.
WEB_URL: Final = re.compile(
    r"(?P<origin>(?i:https?)://(?:\[[0-9A-Fa-f:.]+\]|[^\s\x00-\x20\x7f/?#@\\:\[\]%]+)"
    r"(?::(?P<port>[0-9]{1,5}))?)(?:[/?#][^\s\x00-\x20\x7f\\]*)?"
)
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
FRAMING: Final = frozenset(
    {"connection", "content-length", "te", "trailer", "transfer-encoding", "upgrade"}
)


class NotSent(RetryableError):
    """No connection was made: nothing has reached the other side. Safe to retry."""


class Unanswered(RetryableError):
    """The request went out and no whole answer came: it may have been acted on."""


class Streamed(Protocol):
    """A body that is not held: of known size, its pieces come when they are sent."""

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    def read(self) -> AsyncIterator[bytes]:
        """Its pieces from the beginning. What it raises of Error is raised by `send`."""
        ...


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A request to another system; `timeout_s` bounds it from connect to last byte."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout_s: float = 30.0
    # In place of `body`, where it is too large to be held.
    streamed: Streamed | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. Header names are lower-case, repeated ones joined by commas.

    Of a body beyond the client's bound the beginning is kept and `truncated` is set; the
    rest is not read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool = False


class HttpClient(Protocol):
    """Sends requests.

    Raises NotSent or Unanswered where no answer was had, TerminalError where the address
    is not allowed or the URL is none. An answer of any status is returned. No error's
    text holds more of the URL than scheme, host and port: the rest may be a secret.
    """

    async def send(self, request: OutgoingRequest) -> Response:
        """Send one request, once."""
        ...


def origin(url: str) -> str:
    """Scheme, host and port of a URL. Raises TerminalError, without the URL in it."""
    found = WEB_URL.fullmatch(url)
    if found is None or int(found["port"] or "0") > LAST_PORT:
        raise TerminalError(
            "the URL cannot be used: write http:// or https://, a host without user name "
            "or password, and encode spaces"
        )
    return found["origin"]


@dataclass(slots=True)
class _Progress:
    connected: bool = False
    # Why the body could not be read to its end.
    unread: Error | None = None


class GuardedClient:
    """The HttpClient of the product, an asynchronous context manager.

    Every request has a connection of its own: its address is checked each time, and no
    connection that the other side has given up makes a request look sent. Redirects are
    answers, cookies and the environment's proxies are not used, certificates are always
    verified. At most 1 MiB of a body, unpacked, and 128 headers of 8 KiB are read.

    With `keep_alive` connections are used again: for a command that sends much to a place
    that its user has named.
    """

    def __init__(
        self,
        allow: Sequence[Network] = (),
        resolver: AbstractResolver | None = None,
        *,
        keep_alive: bool = False,
    ) -> None:
        self._guard = Guard(allow)
        self._inner = resolver
        self._keep_alive = keep_alive

    async def __aenter__(self) -> Self:
        self._resolver = GuardedResolver(self._inner or DefaultResolver(), self._guard)
        connector = TCPConnector(
            resolver=self._resolver,
            socket_factory=self._guard.open_socket,
            use_dns_cache=False,
            force_close=not self._keep_alive,
            limit=0,
        )
        self._session = ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            trust_env=False,
            headers={"User-Agent": f"Hookline/{version('hookline')}"},
            skip_auto_headers=("Content-Type",),
            trace_configs=[_tracing()],
        )
        # Without this aiohttp sends GET, PUT and DELETE again after a hang-up.
        self._session._retry_connection = False  # noqa: SLF001 - as its TestClient does
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._session.close()
        await self._resolver.close()

    async def send(self, request: OutgoingRequest) -> Response:
        """Send one request, once."""
        place = origin(request.url)
        _check_headers(place, request.headers)
        # Sent as written, because it may be signed.
        url = URL(request.url, encoded=request.url.isascii())
        progress = _Progress()
        # The library's errors hold the URL, so none of them is kept as a cause.
        try:
            async with self._session.request(
                request.method,
                url,
                headers=_framed(request),
                data=_content(request, progress),
                timeout=ClientTimeout(
                    request.timeout_s, sock_connect=CONNECT_TIMEOUT_S
                ),
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as answer:
                return await _read(answer)
        except InvalidURL:
            raise TerminalError(f"{place} is no host that can be asked") from None
        except (ClientError, TimeoutError, OSError) as error:
            if progress.unread is not None:
                raise progress.unread from None
            raise _failure(place, request.timeout_s, progress, error) from None


def _framed(request: OutgoingRequest) -> Mapping[str, str]:
    if request.streamed is None:
        return request.headers
    return {**request.headers, "content-length": str(request.streamed.size)}


def _content(
    request: OutgoingRequest, progress: _Progress
) -> bytes | AsyncIterator[bytes] | None:
    if request.streamed is None:
        return request.body or None
    return _sent(request.streamed, progress)


async def _sent(body: Streamed, progress: _Progress) -> AsyncIterator[bytes]:
    """Its pieces; aiohttp makes an error of its own of what they raise."""
    try:
        async for piece in body.read():
            yield piece
    except Error as error:
        progress.unread = error
        raise


def _tracing() -> TraceConfig:
    async def note(_session: object, context: object, _made: object) -> None:
        progress = getattr(context, "trace_request_ctx", None)
        if isinstance(progress, _Progress):
            progress.connected = True

    tracing = TraceConfig()
    tracing.on_connection_create_end.append(note)
    return tracing


def _check_headers(place: str, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or name.lower() in FRAMING:
            raise TerminalError(f"{place}: no request can have the header {name!r}")
        if not HEADER_VALUE.fullmatch(value):
            raise TerminalError(f"{place}: the header {name} has control characters")


async def _read(answer: ClientResponse) -> Response:
    headers: dict[str, str] = {}
    for name, value in answer.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            answer.close()
            kept = bytes(body[:BODY_LIMIT_BYTES])
            return Response(answer.status, headers, kept, truncated=True)
    return Response(answer.status, headers, bytes(body))


def _failure(
    place: str, timeout_s: float, progress: _Progress, error: Exception
) -> StepError:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, AddressRefused):
        return TerminalError(
            f"{place} is not allowed ({cause}); where it must be, the operator names its "
            "network in HOOKLINE_EGRESS__ALLOW"
        )
    why = _why(error, timeout_s)
    if progress.connected:
        return Unanswered(f"{place} was sent the request, but {why}")
    return NotSent(f"{place} cannot be reached: {why}")


def _why(error: Exception, timeout_s: float) -> str:
    match error:
        case TimeoutError():
            return f"it took longer than {timeout_s:g} s"
        case ClientConnectorCertificateError():
            return f"its certificate is not valid ({error.certificate_error})"
        case ClientConnectorDNSError():
            return "its name has no address"
        case ClientConnectorError():
            return error.strerror or "the connection failed"
        case ServerDisconnectedError():
            return "it hung up without an answer"
    return f"its answer broke off or cannot be read ({type(error).__name__})"
