"""How many descriptors this process may have, and how many are for connections."""

import resource
from typing import Final

from hookline.telemetry import get_logger

# For the log, routers, steps' calls; and for connections that come in one turn of the
# loop, before those that make room for them are closed.
RESERVED: Final = 2048
logger = get_logger(__name__)


def room_for(connections: int) -> int:
    """How many of these connections fit; the limit is raised as far as that needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + RESERVED
    if _less(soft, wanted):
        soft = wanted if not _less(hard, wanted) else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if not _less(soft, wanted):
        return connections
    room = max(soft - RESERVED, soft // 2)
    logger.warning("connections.limited", room=room, wanted=connections, limit=soft)
    return room


def _less(limit: int, wanted: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < wanted
