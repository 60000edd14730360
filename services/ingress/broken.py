"""What is said of what the parser could not read, or of what went wrong in here."""

from typing import Any

from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import _ErrInfo

from hookline.telemetry import get_logger
from hookline.v1 import event_pb2
from services.ingress.pieces import MOST_HEAD_BYTES, MOST_HEADERS
from services.ingress.replies import Answer, problem

NO_ID = "0" * 32
TOO_MANY_HEADERS = "Too many headers received"  # as aiohttp says it
HEAD_TOO_LARGE = (
    f"Send a head of at most {MOST_HEAD_BYTES // 1024} KiB, with at most {MOST_HEADERS} "
    "headers."
)
logger = get_logger(__name__)


def answer_to_broken(
    status: int, exc: BaseException | None, message: str | None
) -> Answer:
    """The answer to what aiohttp says is wrong; the connection ends with it."""
    if isinstance(exc, LineTooLong) or message == TOO_MANY_HEADERS:
        reason: int = event_pb2.REASON_HEAD_TOO_LARGE
        response = problem(reason, HEAD_TOO_LARGE, NO_ID)
    elif status < 500:  # noqa: PLR2004 - the border of the sender's errors
        text = f"This is not a well-formed HTTP request: {first_line(message)}"
        response = problem(event_pb2.REASON_MALFORMED, text, NO_ID)
    else:
        logger.error("request.failed", exc_info=exc)
        text = "Something went wrong here: send the request again later."
        response = problem(event_pb2.REASON_UNAVAILABLE, text, NO_ID)
        response.headers["Retry-After"] = "1"
    response.force_close()
    return response


def leads_nowhere(message: Any) -> bool:
    """Whether it is a CONNECT without a place.

    aiohttp's parser lets it pass, and then its connection's task would end, unnoticed.
    """
    return isinstance(message, RawRequestMessage) and message.url is None


def no_request(text: str) -> _ErrInfo:
    """What aiohttp's parser gives in place of a request that it cannot read."""
    return _ErrInfo(status=400, exc=BadHttpMessage(text), message=text)


def first_line(message: str | None) -> str:
    """What of aiohttp's words is for senders."""
    return (message or "it cannot be parsed").strip().partition("\n")[0].rstrip(":")
