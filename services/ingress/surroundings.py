"""What the connections of a public port have in common."""

from typing import NamedTuple

from hookline.metrics import EdgeMetrics
from services.ingress.places import Places
from services.ingress.senders import Senders


class Surroundings(NamedTuple):
    """Their places, whom they believe, where they are counted, and their patience."""

    places: Places
    senders: Senders
    metrics: EdgeMetrics
    timeout_s: float
