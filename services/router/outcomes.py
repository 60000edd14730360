"""The one table from errors to gRPC statuses, for those who call as gRPC clients do."""

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status.rpc_status import to_status

from hookline import errors
from hookline.outcomes import reason_of
from hookline.v1 import event_pb2

STATUSES: dict[type[errors.Error], grpc.StatusCode] = {
    errors.UnknownFlow: grpc.StatusCode.NOT_FOUND,
    errors.MethodNotAllowed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Malformed: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BrokeOff: grpc.StatusCode.INVALID_ARGUMENT,
    errors.MissingContentType: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedCoding: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TooLarge: grpc.StatusCode.OUT_OF_RANGE,
    errors.HeadTooLarge: grpc.StatusCode.OUT_OF_RANGE,
    errors.Conflict: grpc.StatusCode.ALREADY_EXISTS,
    errors.TooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.NotAppended: grpc.StatusCode.UNAVAILABLE,
}


def status_of(error: errors.Error) -> grpc.StatusCode:
    """What an error is to a caller over gRPC."""
    return STATUSES[type(error)]


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
