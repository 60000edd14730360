"""Settings, read once from the environment: `HOOKLINE_<SECTION>__<NAME>`.

Lists are separated by commas. All mistakes are reported together, by name, without the
values.
"""

import difflib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from hookline.errors import BadConfiguration

PREFIX = "HOOKLINE_"
MIB: Final = 1024 * 1024
DAY_S: Final = 86_400.0
SECRET = "HOOKLINE_SECRET_"  # noqa: S105 - the prefix of their names
# What the environment may hold besides: the flags' twins, and where secrets are.
FLAGS = frozenset(
    PREFIX + name
    for name in (
        *("DATA", "FLOWS", "EXECUTOR", "HTTP", "GRPC", "ADMIN"),
        *("LOG", "WORKERS", "WAIT", "ROUTER", "TOKEN", "URL", "SECRETS_DIR"),
        *("REQUIRE", "TEST_KAFKA", "FAILPOINTS"),  # the test suites' own
    )
)


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_split)]


class Section(BaseModel):
    """Base of the sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Ingress(Section):
    """The public port, and how the ingress reaches routers."""

    head_timeout_s: float = Field(
        10.0, gt=0, description="Seconds that a request's head may take to arrive."
    )
    body_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Seconds that a body may take before the floor counts, and the longest "
        "silence in it.",
    )
    body_floor_bytes_per_s: int = Field(
        1024, gt=0, description="A body that arrives more slowly is refused: 408."
    )
    keepalive_timeout_s: float = Field(
        75.0,
        gt=0,
        description="Seconds that a connection stays open after an answer; more than a "
        "proxy in front keeps its own.",
    )
    most_connections: int = Field(
        10_000,
        gt=0,
        description="Connections at once, about 11 KiB each; beyond it those without a "
        "request make room. Fewer where there are too few descriptors.",
    )
    most_connections_per_address: int = Field(
        1000,
        gt=0,
        description="Connections at once from an IPv4 address or an IPv6 network of 64 "
        "bits, at most half of all; trusted proxies have no bound of their own.",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Networks of the proxies in front, as in `10.0.0.0/8`: only what they "
        "say of a sender's address is believed.",
    )
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = Field(
        "x-forwarded-for",
        description="The header in which they say it; any other is ignored.",
    )
    router_token: SecretStr = Field(
        SecretStr(""),
        description="What the ingress shows routers: one of their `EDGE_TOKENS`.",
    )
    deadline_s: float = Field(
        5.0, gt=0, description="Seconds that a router may take to answer; then 503."
    )
    most_bytes_in_flight: int = Field(
        48 * MIB,
        gt=0,
        description="Bytes of requests that wait for routers, 16 KiB more counted for "
        "each; beyond it 503 at once.",
    )


class Router(Section):
    """The gRPC port, and who may call it."""

    public_url: str = Field(
        "",
        description="What callers write before `/hook/…`: for schemes that sign the URL.",
    )
    tokens: Secrets = Field(
        (), description="Bearer tokens of internal callers: publish, apply, list."
    )
    edge_tokens: Secrets = Field(
        (),
        description="Bearer tokens of ingress processes; no other may hand webhooks in.",
    )
    console: str = Field(
        "",
        description="HOST:PORT of the console, to which routers on Kafka pass on what is "
        "asked of events and dead letters.",
    )
    reflection: bool = Field(
        default=False,
        description="Whether gRPC reflection is answered, without a token.",
    )
    most_bytes_in_flight: int = Field(
        48 * MIB,
        gt=0,
        description="Bytes of requests that wait for the log, 4 KiB more counted for each; "
        "beyond it 503 at once.",
    )
    most_upload_bytes: int = Field(
        64 * MIB,
        gt=0,
        description="Bytes held of bodies on their way, for which room is reserved before "
        "they are read; senders have shares of it. Beyond it they wait, then 503.",
    )
    routers: int = Field(
        1,
        gt=0,
        description="Routers that share the traffic: of each rate a router gives out its "
        "part.",
    )
    source_rate: float = Field(
        0.0,
        ge=0,
        description="Requests a second from one address (of IPv6: one /64); beyond it 429. "
        "0: no limit.",
    )
    source_bytes: int = Field(
        0,
        ge=0,
        description="Bytes of bodies a second from one address; beyond it 429. 0: none.",
    )
    source_in_flight: int = Field(
        0,
        ge=0,
        description="Events of one address that may wait for the log at once; beyond it "
        "429. 0: no limit.",
    )
    failures: int = Field(
        20,
        gt=0,
        description="Wrong credentials that one address may send a flow at once; then 429.",
    )
    failures_per_s: float = Field(
        1.0, gt=0, description="How many it may send a second after that."
    )


class Bodies(Section):
    """Bodies over 256 KiB, which are not in the log: an object each."""

    store: str = Field(
        "",
        description="Where routers and executors keep and find them: "
        "`file:///DIRECTORY` that all of them see, `s3://BUCKET/PREFIX`, "
        "`gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`, with keys and endpoint in the "
        "variables of the clouds' own tools (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, "
        "…); this installation's alone: it deletes there what is old. "
        "`hookline up` has the directory `bodies` beside its log by default; "
        "services without it refuse such bodies: 413.",
    )
    most_bytes: int = Field(
        1_000_000_000,
        gt=0,
        description="The largest body that any flow may take, whatever its `max_body`.",
    )


class Executor(Section):
    """How much runs at once, and how long a stop waits for it."""

    concurrent_executions: int = Field(
        1000, gt=0, description="Executions at once, in one executor."
    )
    unfinished_per_partition: int = Field(
        10_000,
        gt=0,
        description="Events of a partition in memory; beyond it reading waits.",
    )
    lane_events: int = Field(
        1_000,
        gt=0,
        description="Events of one flow in memory; others are parked, and read again.",
    )
    park_after_s: float = Field(
        5.0,
        ge=0,
        description="Seconds that a flow's events stay in memory while the first one waits "
        "for its next attempt; held ones are parked at once.",
    )
    unfinished_bytes: int = Field(
        32 * MIB,
        gt=0,
        description="Bytes of events in memory, in one executor; its partitions "
        "have even shares.",
    )
    checkpoint_records: int = Field(
        10_000,
        gt=0,
        description="Records of a partition's journal after which a checkpoint is written: "
        "about so many are read at a start.",
    )
    checkpoint_interval_s: float = Field(
        60.0,
        gt=0,
        description="Seconds after which a checkpoint is written where there is anything "
        "to say, and how often keys are written down at the most.",
    )
    dedupe_keys: int = Field(
        500_000,
        gt=1,
        description="Idempotency keys that are remembered for each partition, at least the "
        "newest half of them; about 180 bytes each. `hookline_keys_forgotten` tells when "
        "they are too few for the windows of the flows.",
    )
    drain_s: float = Field(
        5.0,
        ge=0,
        le=20,
        description="Seconds that a stop waits for steps that run; the rest runs again.",
    )
    handover_s: float = Field(
        3.0,
        ge=0,
        le=20,
        description="The same when a partition goes to another executor; all members of "
        "the group wait for it.",
    )


class Retention(Section):
    """How long what has been is kept; executors delete what is older."""

    events_s: float = Field(
        7 * DAY_S,
        ge=0,
        description="Seconds that events and their large bodies are kept, and until they "
        "are over in any case. 0: for good.",
    )
    history_s: float = Field(
        7 * DAY_S,
        ge=0,
        description="Seconds that it is kept how events ended; no end goes before its "
        "event. 0: for good.",
    )
    dead_letters_s: float = Field(
        30 * DAY_S,
        ge=0,
        description="Seconds that dead letters are kept, with their bodies. 0: for good.",
    )
    every_s: float = Field(
        60.0,
        gt=0,
        description="Seconds between two looks at what may go, half as many more or less.",
    )


class Egress(Section):
    """Where steps may go besides public addresses."""

    allow: Networks = Field(
        (), description="Networks that steps may call, as in `10.0.0.0/8`."
    )


class LogSection(Section):
    """The event log, of either kind."""

    append_deadline_s: float = Field(
        5.0,
        gt=0,
        description="Seconds that the log may take to keep an event; then 503.",
    )
    partitions: int | None = Field(
        None,
        gt=0,
        le=1024,
        description="Partitions of `events`: 8 on SQLite, 24 on Kafka by default. They "
        "are the most executors that share the work, and stay as they were made.",
    )
    most_pending_bytes: int = Field(
        64 * MIB,
        gt=0,
        description="Bytes that wait to be written; beyond it 503 at once.",
    )
    start_deadline_s: float = Field(
        60.0,
        ge=0,
        description="Seconds that a service waits at its start for a log that is away.",
    )


class Kafka(Section):
    """The brokers, where the log is `kafka://…`."""

    topic_prefix: str = Field(
        "hookline.",
        pattern=r"^[A-Za-z0-9._-]{0,200}$",
        description="What the names of all topics and groups begin with.",
    )
    replication: int = Field(
        3, gt=0, le=32767, description="Replicas that each topic must have."
    )
    min_insync: int = Field(
        2,
        gt=0,
        le=32767,
        description="Replicas that must have an event before its 2xx.",
    )
    session_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Seconds of silence after which an executor's partitions are given "
        "to others; brokers take 6 to 1800 by default.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = (
        Field("PLAINTEXT", description="How brokers are spoken to.")
    )
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "", description="How a SASL protocol logs in."
    )
    sasl_username: str = Field("", description="The user that logs in.")
    sasl_password: SecretStr = Field(SecretStr(""), description="Its password.")
    ssl_ca_file: str = Field(
        "", description="PEM file of the authorities to trust, instead of the system's."
    )
    ssl_cert_file: str = Field(
        "",
        description="PEM file of the client's certificate, where brokers ask for one.",
    )
    ssl_key_file: str = Field("", description="PEM file of the certificate's key.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_insync > self.replication:
            raise ValueError(
                f"HOOKLINE_KAFKA__MIN_INSYNC ({self.min_insync}) is more than "
                f"HOOKLINE_KAFKA__REPLICATION ({self.replication}): no event could be "
                "accepted"
            )
        if self.security_protocol.startswith("SASL") and not self.sasl_mechanism:
            raise ValueError(
                "a SASL protocol needs HOOKLINE_KAFKA__SASL_MECHANISM, _SASL_USERNAME "
                "and _SASL_PASSWORD"
            )
        return self


class Settings(Section):
    """Everything that has no flag."""

    ingress: Ingress = Ingress()
    router: Router = Router()
    bodies: Bodies = Bodies()
    executor: Executor = Executor()
    retention: Retention = Retention()
    egress: Egress = Egress()
    log: LogSection = LogSection()
    kafka: Kafka = Kafka()

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read them. Raises BadConfiguration naming every mistake."""
        sections: dict[str, dict[str, str]] = {}
        mistakes: list[str] = []
        known = names()
        for key, value in environment.items():
            if not key.startswith(PREFIX) or key in FLAGS or key.startswith(SECRET):
                continue
            section, _, name = key.removeprefix(PREFIX).partition("__")
            if key not in known:
                mistakes.append(_unknown(key, [*known, *sorted(FLAGS)]))
            else:
                sections.setdefault(section.lower(), {})[name.lower()] = value
        try:
            settings = cls.model_validate(sections)
        except ValidationError as error:
            mistakes += [_sentence(one["loc"], one["msg"]) for one in error.errors()]
        if mistakes:
            raise BadConfiguration("\n".join(mistakes))
        return settings


def names() -> list[str]:
    """The names of all settings, as environment variables."""
    return [
        f"{PREFIX}{section}__{name}".upper()
        for section, field in Settings.model_fields.items()
        for name in _section_type(field.annotation).model_fields
    ]


def _section_type(annotation: Any) -> type[Section]:
    section: type[Section] = annotation
    return section


def _sentence(place: tuple[Any, ...], text: str) -> str:
    if len(place) < 2:  # noqa: PLR2004 - of a section: it names its settings itself
        return text.removeprefix("Value error, ")
    name = (PREFIX + "__".join(str(part) for part in place[:2])).upper()
    return f"{name}: {text}"


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"{name} is no setting: {hint}"
