"""What the product counts: the metrics of each service, in Prometheus' text format.

Children are bound once, labels are from closed sets: no sender makes a series.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from hookline.counting import Count, Counts, Durations, Total

# When each series began: nobody asks, and it doubles them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types
METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST
# None in place of a registry: counted and not shown, for a service that is not here.
Registry = CollectorRegistry | None


class ProcessMetrics:
    """What every process shows; the others add theirs to its registry."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        gauge = Gauge(
            "hookline_ready",
            "Whether the service can do its work: what /readyz says",
            registry=self.registry,
        )
        gauge.set_function(ready)

    def add_restarts(self, restarts: Callable[[], float]) -> None:
        """Show how many workers were started again."""
        gauge = Gauge(
            "hookline_worker_restarts",
            "How often a worker has ended and was started again",
            registry=self.registry,
        )
        gauge.set_function(restarts)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text form."""
        return generate_latest(self.registry)


def joined(own: str, label: str, texts: Mapping[str, str]) -> bytes:
    """Expositions of several processes as one, each under its value of a label."""
    families: dict[str, Metric] = {}
    for value, text in (("", own), *texts.items()):
        for family in text_string_to_metric_families(text):
            into = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            more = {label: value} if value else {}
            into.samples += [
                sample._replace(labels={**sample.labels, **more})
                for sample in family.samples
            ]
    registry = CollectorRegistry()
    registry.register(_Families(families.values()))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class EdgeMetrics:
    """The metrics of an ingress; children are bound once."""

    def __init__(self, registry: Registry) -> None:
        self._responses = Counts(
            "hookline_http_responses",
            "Answers on the public port, by status",
            "status",
            registry=registry,
        )
        self._by_status: dict[int, Count] = {}
        self.in_flight = Gauge(
            "hookline_http_requests_in_flight",
            "Requests on the public port that are not answered yet",
            registry=registry,
        )
        self.bytes_in_flight = Gauge(
            "hookline_ingress_bytes_in_flight",
            "Bytes of requests that routers have not answered",
            registry=registry,
        )
        self.connections = Gauge(
            "hookline_http_connections",
            "Connections that are open on the public port",
            registry=registry,
        )
        self._refused = Counter(
            "hookline_http_connections_refused",
            "Connections ended for want of a place: an address had its share, all were "
            "taken, or one that was idle made room",
            ["reason"],
            registry=registry,
        )

    def connection_refused(self, reason: str) -> None:
        """Count a connection that got no place, or lost it."""
        self._refused.labels(reason).inc()

    def answered(self, status: int) -> None:
        """Count an answer."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self._responses.labels(str(status))
        counter.inc()


class RouterMetrics:
    """The metrics of a router; children are bound once."""

    def __init__(self, registry: Registry) -> None:
        requests = Counts(
            "hookline_requests",
            "Requests to webhook URLs and of PublishService, by verdict",
            "verdict",
            registry=registry,
        )
        self._requests = requests
        self.accepted = requests.labels("accepted")
        self.duplicates = requests.labels("duplicate")
        self.body_bytes = Total(
            "hookline_accepted_bytes",
            "Bytes of the bodies of accepted requests",
            registry=registry,
        )
        self.append_duration = Durations(
            "hookline_append_seconds",
            "From the append of an event until it is durable, or has failed",
            (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
            registry=registry,
        )
        self.bytes_in_flight = Gauge(
            "hookline_router_bytes_in_flight",
            "Bytes of edges' requests that the router has not answered",
            registry=registry,
        )

        self.rejections_kept = Counter(
            "hookline_rejections_kept",
            "Refused requests, and counts of those left out, that were written down",
            registry=registry,
        )
        self.rejections_left_out = Counter(
            "hookline_rejections_left_out",
            "Refused requests that were counted only: too many at once",
            registry=registry,
        )
        self.rejections_dropped = Counter(
            "hookline_rejections_dropped",
            "Refused requests that the log did not take",
            registry=registry,
        )
        self.keys_failed = Counter(
            "hookline_keys_failed",
            "Requests whose flow's expression for the idempotency key has failed",
            registry=registry,
        )
        self.replies_failed = Counter(
            "hookline_replies_failed",
            "Accepted requests whose flow's own answer could not be computed",
            registry=registry,
        )

    def rejected(self, reason: str) -> None:
        """Count a refusal; `reason` is one of a closed set."""
        self._requests.labels(reason).inc()


class ExecutorMetrics:
    """The metrics of an executor; children are bound once."""

    def __init__(self, registry: Registry) -> None:
        executions = Counts(
            "hookline_executions",
            "Executions that have ended, by status",
            "status",
            registry=registry,
        )
        self.completed = executions.labels("completed")
        self.filtered = executions.labels("filtered")
        self.failed = executions.labels("failed")
        self.skipped = executions.labels("skipped")
        self.cancelled = executions.labels("cancelled")
        self.repeated = executions.labels("duplicate")
        self.keys_forgotten = Counter(
            "hookline_keys_forgotten",
            "Idempotency keys that were forgotten before their window was over: too many",
            registry=registry,
        )
        self.attempts_failed = Counter(
            "hookline_attempts_failed",
            "Attempts of steps that have failed",
            registry=registry,
        )
        self.unfinished = Gauge(
            "hookline_unfinished_events",
            "Events read from the log whose execution has not ended",
            registry=registry,
        )
        self.parked = Gauge(
            "hookline_parked_events",
            "Those of them that are not in memory: their flows rest, or are far behind",
            registry=registry,
        )
        self.lag = Gauge(
            "hookline_lag_events",
            "Events that the commits of this executor's partitions have not come past, "
            "read or unread; what they have passed is among the unfinished ones",
            registry=registry,
        )
        self.commit_age = Gauge(
            "hookline_commit_age_seconds",
            "How old the oldest event is that keeps a partition's commit from moving, to "
            "about a second of reading; not what brokers do not take",
            registry=registry,
        )
        self.partitions = Gauge(
            "hookline_partitions_owned",
            "Partitions of events that this executor runs",
            registry=registry,
        )
        self.trim_held = Gauge(
            "hookline_trim_held_seconds",
            "How far past its retention the oldest event is that is not over; it and what "
            "follows it is kept",
            registry=registry,
        )
        self.trimmed = Counter(
            "hookline_trimmed_records",
            "Records that were past their retention and are deleted, by topic",
            ["topic"],
            registry=registry,
        )
        self.duration = Durations(
            "hookline_accept_to_end_seconds",
            "From acceptance to the end of the execution",
            (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600),
            registry=registry,
        )


class ConsoleMetrics:
    """The metrics of a console."""

    def __init__(self, registry: Registry) -> None:
        self.behind = Gauge(
            "hookline_index_behind_records",
            "Records of the log that the index of executions has yet to read",
            registry=registry,
        )


class Metrics(RouterMetrics, ExecutorMetrics):
    """The metrics of both."""

    def __init__(self, router: Registry = None, executor: Registry = None) -> None:
        RouterMetrics.__init__(self, router)
        ExecutorMetrics.__init__(self, executor)
