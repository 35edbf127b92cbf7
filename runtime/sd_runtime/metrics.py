"""What the process counts for Prometheus, in a registry of its own. Also the engine's observer.

Counted, not explained: the meaning is in each metric's help text. Knows no HTTP and no engine.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_Result = Literal["done", "failed", "superseded"]

_ROWS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PLUGIN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class _MemoryOfTheDevice(Collector):
    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        gauge = GaugeMetricFamily(
            "sd_device_memory_bytes",
            "The GPU's memory: total and free of the card, allocated for tensors by this process, and"
            " reserved with what its allocator keeps for reuse.",
            labels=["kind"],
        )
        for kind, size in self._read().items():
            gauge.add_metric([kind], size)
        yield gauge


class _ReadinessOfPlugins(Collector):
    def __init__(self, ready: Callable[[], Mapping[str, bool]]) -> None:
        self._ready = ready

    def collect(self) -> Iterator[Metric]:
        gauge = GaugeMetricFamily(
            "sd_plugin_ready",
            "1 for a plugin that answers and honours its contract, else 0.",
            labels=["plugin"],
        )
        for plugin, ready in self._ready().items():
            gauge.add_metric([plugin], float(ready))
        yield gauge


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._evaluations = self._counter(
            "sd_evaluations", "Rows the network evaluated; one evaluation with guidance is two rows."
        )
        self._calls = self._counter("sd_unet_calls", "Calls of the network.")
        self._shared = self._counter(
            "sd_shared_calls", "Calls of the network that served more than one request."
        )
        self._rows = Histogram(
            "sd_evaluation_batch_rows",
            "Rows in a call of the network.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self._seconds = Histogram(
            "sd_unet_call_seconds",
            "Duration of a call of the network.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._out_of_memory = self._counter(
            "sd_device_memory_ran_out", "Pieces of work that were tried again smaller for want of memory."
        )
        self._depth = Gauge(
            "sd_queue_depth", "Requests accepted that have not begun to be computed.", registry=self.registry
        )
        self._requests = Counter(
            "sd_requests", "Answers by route and status code.", ["route", "code"], registry=self.registry
        )
        self._images = self._counter("sd_images", "Pictures made.")
        self._unsaved = self._counter(
            "sd_images_not_saved", "Pictures that could not be written to the output folder."
        )
        self._begin_plugins()
        self._begin_switches()

    def _begin_plugins(self) -> None:
        self._plugin_runs = Counter(
            "sd_plugin_runs",
            "Pictures that plugins were given: done, refused (the module does not take it), unavailable"
            " (nothing was begun), or failed.",
            ["plugin", "module", "outcome"],
            registry=self.registry,
        )
        self._plugin_seconds = Histogram(
            "sd_plugin_run_seconds",
            "How long pictures took that plugins have done, waiting for their turn included.",
            ["plugin", "module"],
            buckets=_PLUGIN_SECONDS,
            registry=self.registry,
        )

    def _begin_switches(self) -> None:
        self._switches = Counter(
            "sd_checkpoint_switches",
            "Tries to change the served checkpoint, repeated ones included: done, failed (the one before is"
            " served, or none; a first load that fails counts too), or superseded by a newer wish before they"
            " were done.",
            ["result"],
            registry=self.registry,
        )
        for result in get_args(_Result):
            # From nought: what begins with its first event has not increased, to Prometheus.
            self._switches.labels(result=result)
        self._load_seconds = Gauge(
            "sd_checkpoint_load_seconds", "How long the last checkpoint took to load.", registry=self.registry
        )
        self._warm_up_seconds = Gauge(
            "sd_checkpoint_warm_up_seconds",
            "How long the warm-up picture of the last checkpoint took.",
            registry=self.registry,
        )

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(name, meaning, registry=self.registry)

    def unet_call(self, *, rows: int, requests: int, seconds: float) -> None:
        """The engine called the network once."""
        self._calls.inc()
        self._evaluations.inc(rows)
        self._rows.observe(rows)
        self._seconds.observe(seconds)
        if requests > 1:
            self._shared.inc()

    def memory_ran_out(self) -> None:
        """The device had too little memory for a piece of work."""
        self._out_of_memory.inc()

    def watch_device_memory(self, read: Callable[[], Mapping[str, int]]) -> None:
        """From now on the GPU's memory, bytes by kind, is asked for when metrics are read; none: no GPU."""
        self.registry.register(_MemoryOfTheDevice(read))

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """From now on the depth of the queue is asked for when metrics are read."""
        self._depth.set_function(depth)

    def watch_plugins(self, ready: Callable[[], Mapping[str, bool]]) -> None:
        """From now on each plugin is asked for by name, and whether it is ready, when metrics are read."""
        self.registry.register(_ReadinessOfPlugins(ready))

    def plugin_ran(self, *, plugin: str, module: str, outcome: str, seconds: float) -> None:
        """A plugin was given a picture."""
        self._plugin_runs.labels(plugin=plugin, module=module, outcome=outcome).inc()
        if outcome == "done":
            self._plugin_seconds.labels(plugin=plugin, module=module).observe(seconds)

    def checkpoint_loaded(self, *, load_seconds: float, warm_up_seconds: float) -> None:
        """A checkpoint became resident and made its warm-up picture."""
        self._load_seconds.set(load_seconds)
        self._warm_up_seconds.set(warm_up_seconds)

    def checkpoint_switched(self, *, result: _Result) -> None:
        """A try to change the served checkpoint ended in this way."""
        self._switches.labels(result=result).inc()

    def answered(self, *, route: str, code: int) -> None:
        """One request was answered."""
        self._requests.labels(route=route, code=str(code)).inc()

    def images_made(self, count: int) -> None:
        """Pictures were finished."""
        self._images.inc(count)

    def image_not_saved(self) -> None:
        """A picture could not be written to the output folder."""
        self._unsaved.inc()
