"""Stop 3, its first half: which flow a request is for, and whether it may come in.

What is asked of it here comes before its body is read, or, of a body that is here, before
it is parsed: source, flow, state, method, size, credential, rate.
"""

from hookline.errors import (
    MethodNotAllowed,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownFlow,
)
from hookline.v1 import event_pb2
from services.router.guards import Verifies
from services.router.rates import Quota
from services.router.refusals import NO_FLOW
from services.router.registry import Registry, ServedFlow
from services.router.sources import Sources

INACTIVE = "The flow is inactive: it lacks secrets. Try again later."


class Admitting:
    """Lets requests in. What it raises is Rejected, Overloaded or Unavailable."""

    def __init__(self, registry: Registry, sources: Sources | None) -> None:
        self._registry = registry
        self._sources = sources

    def served(self, flow_id: str) -> ServedFlow:
        """The flow with this id. Raises UnknownFlow."""
        served = self._registry.get(flow_id)
        if served is None:
            raise UnknownFlow(NO_FLOW)
        return served

    def check_size(self, served: ServedFlow, size: int) -> None:
        """Raise TooLarge where a flow takes no body of a size."""
        if size > served.max_body:
            raise TooLarge(
                f"This flow takes bodies of at most {served.max_body} bytes."
            )

    def let_in(self, request: event_pb2.Request) -> ServedFlow:
        """Admit a request whose body is here; it takes its part of the flow's rate."""
        size = len(request.body)
        served, verifier = self._admit(request, size)
        verifier.verify(request)
        if served.quota is not None:
            served.quota.take(size)
        return served

    def let_head_in(
        self, head: event_pb2.Request, declared_size: int
    ) -> tuple[ServedFlow, Verifies]:
        """Admit a request from its head; what it takes of rates is taken at its end."""
        served, verifier = self._admit(head, declared_size)
        verifier.verify_head(head)
        if served.quota is not None and not served.flow.webhook.conceal:
            served.quota.check(declared_size)
        return served, verifier

    def check_source(self, head: event_pb2.Request, declared_size: int) -> None:
        """Raise Overloaded where a source may not send so much now."""
        if self._sources is not None:
            self._sources.quota(head.remote).check(declared_size)

    def take_from_source(self, request: event_pb2.Request, size: int) -> Quota | None:
        """Take a request from what its source may send. Raises Overloaded."""
        if self._sources is None:
            return None
        source = self._sources.quota(request.remote)
        source.take(size)
        return source

    def describe(self, request: event_pb2.Request) -> event_pb2.Outcome:
        """HEAD and OPTIONS: whether the flow takes requests, and which methods."""
        served = self.served(request.flow_id)
        if served.flow.webhook.conceal:
            raise UnknownFlow(NO_FLOW)
        accepted = event_pb2.Accepted(reply=served.options.reply(request))
        return event_pb2.Outcome(request_id=request.request_id, accepted=accepted)

    def _admit(
        self, request: event_pb2.Request, size: int
    ) -> tuple[ServedFlow, Verifies]:
        served = self.served(request.flow_id)
        if served.verifier is None:
            hidden = served.flow.webhook.conceal
            raise Unauthenticated(INACTIVE) if hidden else Unavailable(INACTIVE)
        methods = served.methods
        if request.method not in methods:
            raise MethodNotAllowed(f"Send {' or '.join(methods)}.", methods)
        self.check_size(served, size)
        return served, served.verifier
