"""The story of an SDPlugin: see who uses it and what they say of it, report. It has no children: its
container is in the pods of the SDInstances that name it, and they are what makes it run.
"""

import logging

from sd_operator import errors, names
from sd_operator.api.base import parse
from sd_operator.api.conditions import Verdict, now, stalled
from sd_operator.api.plugin import SDPlugin
from sd_operator.api.reasons import Reason
from sd_operator.applying import announce, report
from sd_operator.cluster import Api, Object
from sd_operator.malformed import malformed_status
from sd_operator.names import Key
from sd_operator.plugin.readiness import build_status, readiness, uses_of

logger = logging.getLogger(__name__)


class PluginReconciler:
    """Works on one plugin at a time; holds nothing of any of them."""

    def __init__(self, api: Api, *, namespace: str, catalog: str, recheck_seconds: float) -> None:
        """`namespace`: the only one whose SDInstances are served, "" for all; `catalog`: that of the plugins
        that all of them may use."""
        self._api = api
        self._namespace = namespace
        self._catalog = catalog
        self._recheck = recheck_seconds

    async def reconcile(self, key: Key) -> float | None:
        """One pass; returns the seconds until the next look, or None when the plugin is gone."""
        manifest = await self._api.get(names.SDPLUGIN, namespace=key.namespace, name=key.name)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            return None
        try:
            plugin = parse(SDPlugin, manifest)
        except errors.ManifestError as error:
            verdict = stalled(Reason.INVALID_SPEC, str(error))
            await self._report(manifest, malformed_status(manifest, verdict), verdict)
            return self._recheck
        space = self._namespace if key.namespace == self._catalog else key.namespace
        instances = await self._api.find(names.SDINSTANCE, namespace=space)
        found = uses_of(key, instances, catalog=self._catalog)
        verdict = readiness(plugin, found)
        await self._report(manifest, build_status(plugin, found, verdict, time=now()), verdict)
        return self._recheck

    async def _report(self, manifest: Object, status: Object, verdict: Verdict) -> None:
        if await report(self._api, manifest, status):
            logger.info("%s, %s: %s", verdict.state.value, verdict.reason, verdict.message)
            await announce(self._api, manifest, verdict)
