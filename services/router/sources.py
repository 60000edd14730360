"""What each source of requests has left of the sources' limits.

What is kept is bounded: of many sources the one that was silent longest is forgotten.
"""

import time
from collections import OrderedDict
from typing import Final

from hookline.sources import source_of
from services.router.rates import Clock, Limits, Quota

MOST_SOURCES: Final = 16_384


class Sources:
    """The quotas of those who have sent lately."""

    def __init__(
        self,
        limits: Limits,
        routers: int = 1,
        most: int = MOST_SOURCES,
        now: Clock = time.monotonic,
    ) -> None:
        self._limits = limits
        self._routers = routers
        self._most = most
        self._now = now
        self._quotas: OrderedDict[str, Quota] = OrderedDict()

    def quota(self, remote: str) -> Quota:
        """What the source of an address has left."""
        source = source_of(remote)
        quota = self._quotas.get(source)
        if quota is None:
            quota = Quota("This address", self._limits, self._routers, self._now)
            self._quotas[source] = quota
            if len(self._quotas) > self._most:
                self._quotas.popitem(last=False)
        else:
            self._quotas.move_to_end(source)
        return quota
