"""The one table from errors to what the edge is told, and to gRPC statuses."""

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status.rpc_status import to_status

from hookline import errors
from hookline.v1 import event_pb2

RETRY_AFTER_S = 1
TABLE: dict[
    type[errors.Error], "tuple[event_pb2.Reason.ValueType, grpc.StatusCode]"
] = {
    errors.UnknownFlow: (
        event_pb2.REASON_UNKNOWN_FLOW,
        grpc.StatusCode.NOT_FOUND,
    ),
    errors.MethodNotAllowed: (
        event_pb2.REASON_METHOD_NOT_ALLOWED,
        grpc.StatusCode.FAILED_PRECONDITION,
    ),
    errors.Unauthenticated: (
        event_pb2.REASON_UNAUTHENTICATED,
        grpc.StatusCode.UNAUTHENTICATED,
    ),
    errors.Malformed: (
        event_pb2.REASON_MALFORMED,
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
    errors.MissingContentType: (
        event_pb2.REASON_MISSING_CONTENT_TYPE,
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
    errors.TooLarge: (
        event_pb2.REASON_TOO_LARGE,
        grpc.StatusCode.OUT_OF_RANGE,
    ),
    errors.TooSlow: (
        event_pb2.REASON_TOO_SLOW,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    ),
    errors.Unavailable: (
        event_pb2.REASON_UNAVAILABLE,
        grpc.StatusCode.UNAVAILABLE,
    ),
}


def reason_of(error: errors.Error) -> "event_pb2.Reason.ValueType":
    """What kind of refusal an error is, for the edge."""
    return TABLE[type(error)][0]


def status_of(error: errors.Error) -> grpc.StatusCode:
    """What an error is to a caller over gRPC."""
    return TABLE[type(error)][1]


def rpc_status(error: errors.Error, where: str = "") -> grpc.Status:
    """An error as `google.rpc.Status` with ErrorInfo: its reason in UPPER_SNAKE."""
    reason = event_pb2.Reason.Name(reason_of(error)).removeprefix("REASON_")
    code: int = status_of(error).value[0]
    status = status_pb2.Status(code=code, message=f"{where}{error}")
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=reason, domain="hookline")
    )
    translated: grpc.Status = to_status(status)
    return translated


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
        case errors.Unavailable():
            return [_header(b"Retry-After", str(RETRY_AFTER_S))]
        case _:
            return []


def _header(name: bytes, value: str) -> event_pb2.Header:
    return event_pb2.Header(name=name, value=value.encode())
