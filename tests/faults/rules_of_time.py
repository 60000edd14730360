"""Rules about recovery and bounds: what must come soon, or never, and what may be held."""

from collections.abc import Iterator
from typing import Final

from tests.faults.evidence import Evidence
from tests.faults.history import Ok

S: Final = 1_000_000


def accepts_soon_after_healing(evidence: Evidence) -> Iterator[str]:
    """After each fault was healed, a request sent from then on is accepted in time."""
    accepted = sorted(
        (call.invoke.at_us, call.end.at_us)
        for call in evidence.calls
        if isinstance(call.end, Ok)
    )
    limit_us = int(evidence.bounds.healed_s * S)
    last_sent = max((call.invoke.at_us for call in evidence.calls), default=0)
    for fault in evidence.faults:
        if _is_followed(fault.healed_us, limit_us, last_sent, evidence):
            continue
        after = [end for begun, end in accepted if begun >= fault.healed_us]
        took = min(after) - fault.healed_us if after else None
        if took is None or took > limit_us:
            told = f"took {took / S:.1f} s" if took is not None else "never came"
            yield f"after {fault.name} the first accept {told}"


def _is_followed(
    healed_us: int, limit_us: int, last_sent: int, evidence: Evidence
) -> bool:
    """Whether another fault, or the end of the load, came too soon to tell."""
    until = healed_us + limit_us
    return last_sent < healed_us or any(
        healed_us < fault.at_us <= until for fault in evidence.faults
    )


def drains_in_time(evidence: Evidence) -> Iterator[str]:
    """When callers are silent and all is healed, nothing stays unfinished for long."""
    begun = max(
        [fault.healed_us for fault in evidence.faults]
        + [call.end.at_us for call in evidence.calls if call.end],
        default=0,
    )
    if evidence.drained_us is None:
        yield "it was never drained"
    elif evidence.drained_us - begun > evidence.bounds.drained_s * S:
        yield f"it was drained {(evidence.drained_us - begun) / S:.1f} s after the end"


def footprints_are_bounded(evidence: Evidence) -> Iterator[str]:
    """No process holds more memory, threads or descriptors than its bounds."""
    bounds = evidence.bounds
    for one in evidence.footprints:
        for name in ("rss_mib", "threads", "descriptors"):
            held, most = getattr(one, name), getattr(bounds, name)
            if held > most:
                yield f"{one.service} has {held:g} {name}, of {most:g}"


def nothing_accepted_while_unwritable(evidence: Evidence) -> Iterator[str]:
    """No request that was sent while the log was unwritable got its 2xx meanwhile."""
    windows = [f.unwritable_us for f in evidence.faults if f.unwritable_us]
    for call in evidence.calls:
        if isinstance(call.end, Ok) and any(
            begun <= call.invoke.at_us and call.end.at_us <= ended
            for begun, ended in windows
        ):
            yield f"{call.name} was accepted while the log could not be written"
