"""The networks of the cluster's pods and Services and its nodes' addresses, which no file is fetched from.

Asked for once, at the operator's start: of the nodes (pods) and the ServiceCIDRs. An operator that may ask
for neither knows none, and says so.
"""

import logging

from sd_operator import errors, names
from sd_operator.cluster import Api, Object

logger = logging.getLogger(__name__)


async def cluster_networks(api: Api) -> tuple[str, ...]:
    """The networks as CIDRs, as far as the operator may know them."""
    found: list[str] = []
    for resource in (names.NODE, names.SERVICECIDR):
        try:
            items = await api.find(resource, namespace="")
        except errors.ClusterError as error:
            logger.warning(
                "%s cannot be listed, so their networks are not refused to fetch pods; set "
                "SDO_FETCH_REFUSED_NETWORKS: %s",
                resource.plural,
                error,
            )
            continue
        for item in items:
            found += [network for network in _networks(item) if network not in found]
    logger.info("fetch pods are kept from the cluster's networks: %s", ", ".join(found) or "none is known")
    return tuple(found)


def _networks(item: Object) -> list[str]:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    found = [str(network) for network in spec.get("podCIDRs") or spec.get("cidrs") or ()]
    # A node's own: its kubelet listens there.
    found += [each["address"] for each in status.get("addresses") or () if each["type"] == "InternalIP"]
    return found
