"""The process around the reconciles: settings, key, logs, metrics, health, dispatch."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import ValidationError

from sd_operator import __main__, errors, log, management, names, watching
from sd_operator.cache import Cache
from sd_operator.metrics import Metrics
from sd_operator.names import Key
from sd_operator.reconciling import Dispatcher
from sd_operator.settings import Settings, load, parse_labels
from sd_operator.workqueue import WorkQueue

KEY = Key("SDInstance", "ns", "demo")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDO_OPERATOR_IMAGE", "operator:1")
    monkeypatch.setenv("SDO_RUNTIME_IMAGE", "runtime:1")
    monkeypatch.setenv("SDO_WATCH_NAMESPACE", "art")
    monkeypatch.setenv("SDO_KEY_FILE", "/key")
    monkeypatch.setenv("SDO_IMAGE_PULL_SECRETS", "mirror,other.example,mirror")
    monkeypatch.setenv(
        "SDO_SERVICE_MONITOR_LABELS", "release=prometheus, example.org/Team=,release=prometheus"
    )
    found = load()
    assert (found.operator_image, found.runtime_image, found.watch_namespace) == (
        "operator:1",
        "runtime:1",
        "art",
    )
    assert found.image_pull_secrets == ("mirror", "other.example")
    assert found.service_monitor_labels == {"release": "prometheus", "example.org/Team": ""}
    monkeypatch.setenv("SDO_WORKERS", "0")
    with pytest.raises(ValidationError):
        load()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("release", "'release' is no label such as release=prometheus"),
        ("=prometheus", "'' is no key of a label"),
        ("/release=prometheus", "'/release' is no key of a label"),
        ("Example.org/team=art", "'Example.org/team' is no key of a label"),
        (f"{'a' * 64}=prometheus", "is no key of a label"),
        ("release=-", "release: '-' is no value of a label"),
        (f"release={'a' * 64}", "is no value of a label"),
        ("release=a,release=b", "release: it has two values, 'a' and 'b'"),
    ],
)
def test_what_the_api_server_would_not_take_for_a_label_is_refused(given: str, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_labels(given)
    assert words in str(refused.value)


def test_every_setting_says_what_it_does() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_wrong_settings_end_the_process_with_their_names_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SDO_OPERATOR_IMAGE", raising=False)
    monkeypatch.setenv("SDO_RUNTIME_IMAGE", "r")
    monkeypatch.setenv("SDO_LOG_LEVEL", "LOUD")
    assert __main__.main() == 2
    told = capsys.readouterr().err
    assert "SDO_OPERATOR_IMAGE: Field required" in told
    assert "SDO_LOG_LEVEL: Input should be" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "SDO_KEY_SECRET, SDO_KEY_FILE: one of the two is needed"),
        ({"SDO_KEY_SECRET": "key", "SDO_NAMESPACE": "ops", "SDO_KEY_FILE": "/key"}, "and not both"),
        ({"SDO_KEY_SECRET": "key"}, "SDO_NAMESPACE: needed with SDO_KEY_SECRET"),
        ({"SDO_KEY_FILE": "/key", "SDO_IMAGE_PULL_SECRETS": "mirror,My_Secret"}, "'My_Secret' is no name"),
    ],
    ids=["no key", "two keys", "no namespace", "no name"],
)
def test_settings_that_do_not_fit_together_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: dict[str, str], words: str
) -> None:
    for name, value in {"SDO_OPERATOR_IMAGE": "o", "SDO_RUNTIME_IMAGE": "r", **given}.items():
        monkeypatch.setenv(name, value)
    assert __main__.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("SDO_") and words in line


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("kopf").setLevel(logging.NOTSET)
    logging.getLogger("aiohttp.access").setLevel(logging.NOTSET)


@pytest.mark.usefixtures("restored_logging")
def test_every_line_is_json_and_names_the_object() -> None:
    stream = io.StringIO()
    log.configure("INFO", stream=stream)
    logger = logging.getLogger("test")
    logger.info("before")
    with log.bound(KEY):
        logger.info("hello %s", "you")
        try:
            raise ValueError("no")
        except ValueError:
            logger.exception("failed")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert "name" not in lines[0]
    assert lines[1]["message"] == "hello you"
    assert (lines[1]["kind"], lines[1]["namespace"], lines[1]["name"]) == ("SDInstance", "ns", "demo")
    assert "ValueError: no" in lines[2]["traceback"]
    logging.getLogger("kopf.objects").info("silenced")
    assert len(stream.getvalue().splitlines()) == 3


class Scripted:
    """A reconciler that answers as told."""

    def __init__(self, answer: float | Exception | None) -> None:
        self.answer = answer

    async def reconcile(self, key: Key) -> float | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def quiet(_: Key, __: Exception) -> None:
    return None


@pytest.mark.parametrize(("position", "expected"), [(0.0, 80.0), (0.5, 100.0), (1.0, 120.0)])
async def test_the_next_look_is_spread(position: float, expected: float) -> None:
    dispatcher = Dispatcher({"SDInstance": Scripted(100.0)}, Metrics(), tell=quiet, spread=lambda: position)
    assert await dispatcher.work(KEY) == pytest.approx(expected)


async def test_a_gone_object_is_not_looked_at_again() -> None:
    assert await Dispatcher({"SDInstance": Scripted(None)}, Metrics(), tell=quiet).work(KEY) is None


async def test_a_namespace_that_ends_is_left_in_peace() -> None:
    ending = Scripted(errors.NamespaceEndingError("namespace ns is being terminated", status=403))
    assert await Dispatcher({"SDInstance": ending}, Metrics(), tell=quiet).work(KEY) is None


@pytest.mark.parametrize(
    ("error", "reason"), [(errors.TransientError("x"), "Transient"), (KeyError("x"), "KeyError")]
)
async def test_errors_are_counted_by_reason_and_left_to_the_queue(error: Exception, reason: str) -> None:
    metrics = Metrics()
    with pytest.raises(type(error)):
        await Dispatcher({"SDInstance": Scripted(error)}, metrics, tell=quiet).work(KEY)
    text = metrics.exposition().decode()
    assert f'sdo_reconcile_errors_total{{kind="SDInstance",reason="{reason}"}} 1.0' in text
    assert 'sdo_reconcile_seconds_count{kind="SDInstance"} 1.0' in text


async def test_only_failures_in_a_row_are_told_and_a_success_ends_the_row() -> None:
    told: list[str] = []

    async def tell(key: Key, error: Exception) -> None:
        told.append(f"{key}: {error}")

    work = Scripted(errors.TransientError("etcd is gone"))
    dispatcher = Dispatcher({"SDInstance": work}, Metrics(), tell=tell, spread=lambda: 0.5)

    async def fail(times: int) -> None:
        work.answer = errors.TransientError("etcd is gone")
        for _ in range(times):
            with pytest.raises(errors.TransientError):
                await dispatcher.work(KEY)

    await fail(2)
    work.answer = 60.0
    await dispatcher.work(KEY)
    await fail(2)
    assert told == []
    await fail(1)
    assert told == ["SDInstance/ns/demo: etcd is gone"]
    await fail(97)
    assert len(told) == 6, "after 3, 6, 12, 24, 48 and 96 failures"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize(("complaints", "status"), [([], 200), (["pods have not been watched"], 503)])
async def test_health_says_what_is_wrong(complaints: list[str], status: int, path: str) -> None:
    health = management.Health(waits_for="")
    health.complaints = lambda: complaints
    async with TestClient(TestServer(management.build_app(Metrics(), health))) as client:
        answer = await client.get(path)
        assert answer.status == status
        assert await answer.json() == {"complaints": complaints}
        metrics = await client.get("/metrics")
        assert metrics.status == 200
        assert "sdo_queue_depth" in await metrics.text()


def test_objects_are_counted_by_condition_and_what_is_over_is_not_shown() -> None:
    metrics = Metrics()
    metrics.conditions(metrics.instances, {("Ready", "Serving"): 3, ("Reconciling", "Loading"): 1})
    metrics.conditions(metrics.instances, {("Ready", "Serving"): 4})
    lines = [line for line in metrics.exposition().decode().splitlines() if line.startswith("sdo_instances")]
    assert lines == ['sdo_instances{condition="Ready",reason="Serving"} 4.0']


async def test_what_the_process_knows_of_itself_is_measured_when_asked() -> None:
    metrics, cache, ages = Metrics(), Cache((*names.OWN, names.POD)), watching.WatchAges((names.POD,))
    ready = [{"type": "Ready", "status": "True", "reason": "Serving"}]
    metadata = {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    cache.put(names.SDINSTANCE, {"metadata": metadata, "status": {"conditions": ready}})

    async def fail(_: Key) -> None:
        raise errors.TransientError("no")

    async with WorkQueue(fail, workers=1, foreseen=(errors.OperatorError,), backoff_base=60.0) as queue:
        queue.add(KEY)
        await asyncio.sleep(0.01)
        __main__._measure(metrics, cache, ages, queue)
        assert __main__._complaints(ages, queue) == []
    text = metrics.exposition().decode()
    for line in (
        'sdo_instances{condition="Ready",reason="Serving"} 1.0',
        'sdo_cache_objects{kind="SDInstance"} 1.0',
        'sdo_cache_objects{kind="Pod"} 0.0',
        "sdo_queue_failing 1.0",
        "sdo_queue_delayed 1.0",
        'sdo_watch_age_seconds{kind="pods"}',
    ):
        assert line in text
    assert __main__._complaints(ages, queue) == ["a worker of the queue has ended"]
