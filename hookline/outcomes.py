"""Refusals as outcomes: the one table from errors to what the edge answers with.

The router refuses with it, and so does the edge where no router can be asked.
"""

from hookline import errors
from hookline.v1 import event_pb2

RETRY_AFTER_S = 1
REASONS: dict[type[errors.Error], "event_pb2.Reason.ValueType"] = {
    errors.UnknownFlow: event_pb2.REASON_UNKNOWN_FLOW,
    errors.MethodNotAllowed: event_pb2.REASON_METHOD_NOT_ALLOWED,
    errors.Unauthenticated: event_pb2.REASON_UNAUTHENTICATED,
    errors.Malformed: event_pb2.REASON_MALFORMED,
    errors.BrokeOff: event_pb2.REASON_MALFORMED,
    errors.MissingContentType: event_pb2.REASON_MISSING_CONTENT_TYPE,
    errors.UnsupportedCoding: event_pb2.REASON_UNSUPPORTED_CODING,
    errors.TooLarge: event_pb2.REASON_TOO_LARGE,
    errors.TooSlow: event_pb2.REASON_TOO_SLOW,
    errors.HeadTooLarge: event_pb2.REASON_HEAD_TOO_LARGE,
    errors.Conflict: event_pb2.REASON_CONFLICT,
    errors.Overloaded: event_pb2.REASON_TOO_MANY_REQUESTS,
    errors.Unavailable: event_pb2.REASON_UNAVAILABLE,
    errors.NotAppended: event_pb2.REASON_UNAVAILABLE,
}


def reason_of(error: errors.Error) -> "event_pb2.Reason.ValueType":
    """What kind of refusal an error is."""
    return REASONS[type(error)]


def rejection(request_id: str, error: errors.Error) -> event_pb2.Outcome:
    """The verdict that an error stands for."""
    return event_pb2.Outcome(
        request_id=request_id,
        rejected=event_pb2.Rejected(
            reason=reason_of(error), detail=str(error), headers=_headers(error)
        ),
    )


def _headers(error: errors.Error) -> list[event_pb2.Header]:
    match error:
        case errors.MethodNotAllowed():
            return [_header(b"Allow", ", ".join(error.allowed))]
        case errors.Unauthenticated():
            return [_header(b"WWW-Authenticate", text) for text in error.challenges]
        case errors.UnsupportedCoding():
            # RFC 9110, 15.5.16: which ones would do.
            return [_header(b"Accept-Encoding", "gzip, deflate, br, zstd")]
        case errors.Overloaded():
            retry = _header(b"Retry-After", str(error.retry_after_s))
            return [
                retry,
                *(_header(name.encode(), text) for name, text in error.limits),
            ]
        case errors.Unavailable():
            return [_header(b"Retry-After", str(RETRY_AFTER_S))]
        case _:
            return []


def _header(name: bytes, value: str) -> event_pb2.Header:
    return event_pb2.Header(name=name, value=value.encode())
