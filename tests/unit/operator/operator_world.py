"""A fake cluster with its controllers, and an operator of one bundle and one instance."""

from collections.abc import Mapping

from operator_controllers import Controllers
from operator_fakes import FakeCluster, FakeFetchPods, FakeRuntimes, bundle, instance, plugin

from sd_operator import names
from sd_operator.api.conditions import State
from sd_operator.bundle.children.pod import FetchSettings
from sd_operator.bundle.reconcile import BundleReconciler
from sd_operator.instance.children.deployment import RuntimeSettings
from sd_operator.instance.reconcile import InstanceReconciler
from sd_operator.names import Key
from sd_operator.plugin.reconcile import PluginReconciler

BUNDLE = Key("ModelBundle", "ns", "sd15")
INSTANCE = Key("SDInstance", "ns", "demo")
PLUGIN = Key("SDPlugin", "ns", "aux")
ROUNDS = 8


class World:
    """One cluster, its controllers, and an operator that can be started anew."""

    def __init__(self, cluster: FakeCluster, runtimes: FakeRuntimes | None = None) -> None:
        self.cluster = cluster
        self.controllers = Controllers(cluster)
        self.runtimes = runtimes or FakeRuntimes()
        self.fetch_pods = FakeFetchPods()
        self.restart()

    def restart(
        self,
        *,
        operator_image: str = "operator:1",
        runtime_image: str = "runtime:1",
        service_monitor_labels: Mapping[str, str] = {},
    ) -> None:
        self.bundles = BundleReconciler(
            self.cluster,
            self.fetch_pods,
            FetchSettings(
                image=operator_image,
                image_pull_policy="IfNotPresent",
                hf_endpoint="https://huggingface.co",
                catalog_namespace="catalog",
            ),
            recheck_seconds=60,
        )
        self.instances = InstanceReconciler(
            self.cluster,
            self.runtimes,
            RuntimeSettings(
                image=runtime_image,
                image_pull_policy="IfNotPresent",
                service_monitor_labels=service_monitor_labels,
                catalog_namespace="catalog",
            ),
            recheck_seconds=60,
        )
        self.plugins = PluginReconciler(self.cluster, namespace="", catalog="catalog", recheck_seconds=60)

    async def round(self) -> None:
        await self.bundles.reconcile(BUNDLE)
        await self.instances.reconcile(INSTANCE)
        await self.plugins.reconcile(PLUGIN)
        self.controllers.step()

    async def settle(self) -> None:
        for _ in range(ROUNDS):
            await self.round()

    def verdict(self, resource: names.Resource, name: str) -> tuple[str, str]:
        conditions = self.cluster.one(resource, name)["status"]["conditions"]
        states = {state.value for state in State}
        held = [each["type"] for each in conditions if each["status"] == "True" and each["type"] in states]
        ready = next(condition for condition in conditions if condition["type"] == "Ready")
        assert len(held) == 1
        return held[0], ready["reason"]


def a_world_with_plugin() -> World:
    """The instance has a plugin, which needs a bundle of its own."""
    cluster = FakeCluster()
    cluster.add(bundle())
    cluster.add(plugin())
    cluster.add(instance(plugins=[{"name": "aux"}]))
    return World(cluster)


def a_world() -> World:
    cluster = FakeCluster()
    cluster.add(bundle())
    cluster.add(instance())
    return World(cluster)
