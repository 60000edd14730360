"""Takes out of the topic `flows` what counts for nobody any more."""

from hookline.catalog import Catalog
from hookline.errors import Unavailable
from hookline.log import Log, Topic
from hookline.telemetry import get_logger

logger = get_logger(__name__)


async def take_out_stale(
    catalog: Catalog, log: Log, topic: Topic, flow_id: str
) -> None:
    """Take out a flow's stale records; who writes next tries again where it fails."""
    try:
        for key in catalog.records.stale_keys(flow_id):
            await log.append(topic, key, None)
    except Unavailable as error:
        logger.warning("flow.kept_stale", flow_id=flow_id, error=str(error))
