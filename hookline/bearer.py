"""Bearer tokens for internal callers: every gRPC method but health and reflection.

A service may have callers of its own: the edge's tokens open RouterService and nothing
else, and no other token opens it.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import grpc

OPEN_SERVICES = ("/grpc.health.v1.", "/grpc.reflection.")
Handler = Any  # grpc's type of handlers has parameters only for type checkers
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]


class BearerTokens(grpc.aio.ServerInterceptor):
    """Refuses calls without a valid token: UNAUTHENTICATED; only digests are kept."""

    def __init__(
        self,
        tokens: Sequence[str],
        tokens_by_service: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Tokens of all services but those named, by full name, with their own."""
        self._digests = _digests(tokens)
        self._digests_by_service = {
            service: _digests(own) for service, own in (tokens_by_service or {}).items()
        }

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Let a call pass, or answer it with a refusal."""
        handler = await continuation(details)
        if details.method.startswith(OPEN_SERVICES) or self._admits(details):
            return handler
        return _refusing(handler)

    def _admits(self, details: grpc.HandlerCallDetails) -> bool:
        sent = [
            value
            for name, value in details.invocation_metadata or ()
            if name == "authorization"
        ]
        if len(sent) != 1:
            return False
        scheme, _, token = str(sent[0]).partition(" ")
        digest = _digest(token)
        service = details.method.split("/")[1]
        digests = self._digests_by_service.get(service, self._digests)
        matches = [hmac.compare_digest(digest, known) for known in digests]
        return scheme.lower() == "bearer" and any(matches)


def _digests(tokens: Sequence[str]) -> list[bytes]:
    return [_digest(token) for token in tokens]


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _refusing(handler: Any) -> Any:
    async def refuse(
        _request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        await context.abort(
            grpc.StatusCode.UNAUTHENTICATED,
            "Send metadata authorization: Bearer <token> with a token of this router.",
        )

    if handler is None:
        return None
    if handler.response_streaming:
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(_refuse_stream(refuse))
        return grpc.unary_stream_rpc_method_handler(_refuse_stream(refuse))
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(refuse)
    return grpc.unary_unary_rpc_method_handler(refuse)


def _refuse_stream(refuse: Any) -> Any:
    async def refuse_stream(request: Any, context: Any) -> Any:
        await refuse(request, context)
        yield

    return refuse_stream
