"""Having a plugin do something, and what is made of one that does something else. Every plugin is at a real
socket."""

import io
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sd_runtime.errors import PluginError, PluginUnavailable, UnsupportedError
from sd_runtime.plugins.plugin import Bounds
from tests.unit.runtime.plugins import misbehaving
from tests.unit.runtime.plugins.misbehaving import http, module, npy, packed, parameter, refused, result

MAP = np.zeros((4, 5, 3), np.uint8)


def zipped(body):
    return http(body, kind="application/zip")


def test_the_module_is_given_the_picture_and_its_answer_comes_back(side, picture):
    plugin = side.made(misbehaving.Plugin)
    plugins = side.has(plugin)
    made = plugins.run(side.module(), picture, parameters={"level": 640})
    assert np.array_equal(made.image, 255 - picture)
    assert made.image.flags.writeable
    assert made.info == {"seconds": 0.1}
    (asked,) = plugin.runs
    assert (asked.path, asked.headers["content-type"]) == ("/v1/run/invert", "application/zip")
    assert asked.parameters == {"level": 640}
    assert 4 < float(asked.headers["sd-deadline"]) < 5
    assert side.counted == [("good", "invert", "done")]


def test_a_picture_whose_rows_lie_apart_in_memory_arrives_whole(side, picture):
    plugins = side.has(side.made(misbehaving.Plugin))
    assert np.array_equal(plugins.run(side.module(), picture[:, ::-1]).image, 255 - picture[:, ::-1])


def test_an_upscalers_result_is_larger_by_its_factor(side, picture):
    plugin = side.made(misbehaving.Plugin, kind="Upscaler", modules=[module("x3", factor=3)])
    made = side.has(plugin).run(side.module("x3", "Upscaler"), picture)
    assert made.image.shape == (18, 27, 3)


def test_a_mask_goes_along_where_the_module_takes_one(side, picture):
    plugin = side.made(misbehaving.Plugin, modules=[module(mask=True)])
    side.has(plugin).run(side.module(), picture, np.full(picture.shape[:2], 7, np.uint8))
    with zipfile.ZipFile(io.BytesIO(plugin.runs[0].body)) as archive:
        assert archive.namelist() == ["image.npy", "mask.npy", "parameters.json"]


BROKEN = [
    ("no archive", zipped(b"picture"), "not a whole ZIP archive"),
    ("an empty answer", zipped(b""), "not a whole ZIP archive"),
    ("a truncated archive", zipped(result(MAP)[:-30]), "not a whole ZIP archive"),
    ("an archive without its beginning", zipped(result(MAP)[40:]), "broken archive"),
    ("a changed pixel", zipped(result(MAP).replace(bytes(60), bytes(59) + b"x")), "broken archive.*CRC"),
    ("one of the 64-bit kind", zipped(misbehaving.with_locator(result(MAP))), "64-bit"),
    ("a missing entry", zipped(packed({"image.npy": npy(MAP)})), "1 entries"),
    (
        "another entry",
        zipped(packed({"image.npy": npy(MAP), "virus.exe": b"x"})),
        "'image.npy', 'virus.exe'; allowed: image.npy and result.json",
    ),
    (
        "a compressed entry",
        zipped(packed({"image.npy": npy(MAP), "result.json": b"{}"}, zipfile.ZIP_DEFLATED)),
        "compressed",
    ),
    ("another dtype", zipped(result(MAP.astype(np.float32))), "the dtype '<f4'.* allowed: .*uint8"),
    ("Fortran's order", zipped(result(np.asfortranarray(MAP))), "fortran_order True"),
    ("a grey map", zipped(result(MAP[:, :, 0])), r"shape \(4, 5\)"),
    ("alpha", zipped(result(np.zeros((4, 5, 4), np.uint8))), r"shape \(4, 5, 4\)"),
    ("no pixels", zipped(result(np.zeros((0, 5, 3), np.uint8))), r"shape \(0, 5, 3\)"),
    (
        "a pickle",
        zipped(packed({"image.npy": npy(np.array([{}]), allow_pickle=True), "result.json": b"{}"})),
        "the dtype .\\|O'.* allowed: .*uint8",
    ),
    (
        "fewer pixels than the shape says",
        zipped(packed({"image.npy": npy(MAP)[:-1], "result.json": b"{}"})),
        "ends after 59 of 60 bytes",
    ),
    (
        "more pixels than the shape says",
        zipped(packed({"image.npy": npy(MAP) + b"x", "result.json": b"{}"})),
        "more bytes than its shape says",
    ),
    ("no NPY", zipped(packed({"image.npy": b"PNG", "result.json": b"{}"})), "not NPY 1.0"),
    ("a result that is no JSON", zipped(packed({"image.npy": npy(MAP), "result.json": b"{"})), "not JSON"),
    (
        "a result that is no object",
        zipped(packed({"image.npy": npy(MAP), "result.json": b"[]"})),
        "no object",
    ),
    (
        "a result that is NaN",
        zipped(packed({"image.npy": npy(MAP), "result.json": b'{"x": NaN}'})),
        "not JSON",
    ),
    (
        "a result that is nested too deep",
        zipped(packed({"image.npy": npy(MAP), "result.json": b'{"x":' + b"[" * 16 + b"]" * 16 + b"}"})),
        "16 levels",
    ),
    (
        "a result that is nested beyond reason",
        zipped(packed({"image.npy": npy(MAP), "result.json": b"[" * 400_000})),
        "not JSON",
    ),
    (
        "a huge result",
        zipped(packed({"image.npy": npy(MAP), "result.json": b'{"x": "%s"}' % (b"y" * (1 << 20))})),
        "result.json of its answer has",
    ),
    ("no HTTP", b"hello\r\n\r\n", "not HTTP"),
    ("a redirect", http(b"", "302 Found"), "status 302"),
    ("an answer of another kind", http(b"{}", "418 I'm a teapot"), "status 418"),
]


@pytest.mark.parametrize(("answer", "told"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN])
def test_an_answer_that_breaks_the_contract_fails_the_run_and_what_is_broken_is_named(
    side, picture, answer, told
):
    plugins = side.has(side.made(misbehaving.Saying, answer))
    with pytest.raises(PluginError, match=f"plugin good, module invert: it broke its contract: .*{told}"):
        plugins.run(side.module(), picture)
    assert side.counted == [("good", "invert", "failed")]


@pytest.mark.parametrize("size", [(6, 9), (12, 17), (18, 27)])
def test_a_result_of_another_factor_is_refused(side, picture, size):
    answer = zipped(result(np.zeros((*size, 3), np.uint8)))
    plugin = side.made(misbehaving.Saying, answer, kind="Upscaler", modules=[module("x2", factor=2)])
    with pytest.raises(PluginError, match="broke its contract"):
        side.has(plugin).run(side.module("x2", "Upscaler"), picture)


#: Of a picture of 9x6, the resolution (None: the module has none), and the map's width and height.
SIZES = [
    (None, (9, 6), None),
    (None, (6, 4), None),
    (None, (1, 1), None),
    (None, (10, 6), "must not be larger than the picture"),
    (None, (9, 7), "must not be larger than the picture"),
    (None, (4096, 4096), "must not be larger than the picture"),
    (None, (3, 6), "must keep the proportions"),
    (64, (96, 64), None),
    (64, (97, 64), None),
    (64, (98, 64), "must keep the proportions"),
    (64, (64, 64), "must keep the proportions"),
    (64, (64, 96), "must keep the proportions"),
    (64, (9, 6), "its shorter side must be 64"),
    (64, (97, 65), "its shorter side must be 64"),
    (64, (4096, 4096), "its shorter side must be 64"),
]


@pytest.mark.parametrize(("resolution", "size", "told"), SIZES)
def test_a_map_has_the_size_that_the_contract_demands(side, picture, resolution, size, told):
    answer = zipped(result(np.zeros((size[1], size[0], 3), np.uint8)))
    given = [parameter("resolution", minimum=64, maximum=2048, default=64)] if resolution else []
    plugins = side.has(side.made(misbehaving.Saying, answer, modules=[module(parameters=given)]))
    if told is None:
        assert plugins.run(side.module(), picture).image.shape == (size[1], size[0], 3)
        return
    sentence = f"broke its contract: it makes {size[0]}x{size[1]} of a picture of 9x6; .*{told}"
    with pytest.raises(PluginError, match=sentence):
        plugins.run(side.module(), picture)


def test_an_answer_without_end_is_not_read_to_it(side, picture):
    plugins = side.has(side.made(misbehaving.Endless))
    began = time.monotonic()
    with pytest.raises(PluginError, match=r"larger than .* bytes"):
        plugins.run(side.module(), picture)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (misbehaving.Crumbling, "in pieces that are too small"),
        (misbehaving.Padding, "more comes around its body than one can need"),
        (misbehaving.Continuing, "more comes around its body than one can need"),
    ],
)
def test_an_answer_that_costs_more_to_parse_than_it_brings_is_given_up(side, picture, kind, told):
    plugins = side.has(side.made(kind), bounds=Bounds(map_pixels=1 << 20))
    began = time.monotonic()
    with pytest.raises(PluginError, match=told):
        plugins.run(side.module(), picture)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("kind", [misbehaving.Hanging, misbehaving.Dribbling])
def test_the_deadline_holds_however_the_answer_comes(side, picture, kind):
    plugins = side.has(side.made(kind), seconds=0.5)
    began = time.monotonic()
    with pytest.raises(PluginError, match="took longer than it may"):
        plugins.run(side.module(), picture)
    assert 0.4 < time.monotonic() - began < 1.5


@pytest.mark.parametrize("kind", [misbehaving.ClosingInTheMidst, misbehaving.Dying])
def test_a_run_whose_worker_dies_fails_and_is_not_begun_again(side, picture, kind):
    plugin = side.made(kind)
    with pytest.raises(PluginError, match="closed the connection before its answer was complete") as caught:
        side.has(plugin).run(side.module(), picture)
    assert not isinstance(caught.value, PluginUnavailable)
    assert len(plugin.runs) == 1


def test_connecting_is_tried_again_while_the_worker_is_replaced(side, picture):
    first = side.made(misbehaving.Plugin)
    plugins = side.has(first)
    first.stop()
    second = misbehaving.Plugin(side.folder)
    timer = threading.Timer(0.4, second.listen)
    timer.start()
    assert np.array_equal(plugins.run(side.module(), picture).image, 255 - picture)
    timer.join()
    second.stop()


def test_a_plugin_that_is_gone_is_unavailable_before_long(side, picture, monkeypatch):
    monkeypatch.setattr("sd_runtime.plugins.plugin._CONNECT_SECONDS", 0.2)
    plugin = side.made(misbehaving.Plugin)
    plugins = side.has(plugin)
    plugin.stop()
    with pytest.raises(PluginUnavailable, match="plugin good, module invert: its socket is not there"):
        plugins.run(side.module(), picture)
    assert side.counted == [("good", "invert", "unavailable")]


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        ("422 Unprocessable", UnsupportedError, "image: '9x6' .* good/invert takes; .* resolution: 7"),
        ("413 Too Large", UnsupportedError, "image: '9x6' .* what good/invert takes"),
        ("404 Not Found", PluginError, "resolution: 7"),
        ("429 Too Many Requests", PluginUnavailable, "resolution: 7"),
        ("503 Service Unavailable", PluginUnavailable, "plugin good, module invert: resolution: 7"),
        ("504 Gateway Timeout", PluginError, "resolution: 7"),
        ("500 Internal Server Error", PluginError, "plugin good, module invert: resolution: 7"),
    ],
)
def test_a_refusal_becomes_the_error_of_its_kind_with_the_plugins_own_sentence(
    side, picture, status, kind, told
):
    plugins = side.has(
        side.made(misbehaving.Saying, refused(status, "Word", "resolution: 7\nis not allowed"))
    )
    with pytest.raises((PluginError, UnsupportedError), match=told) as caught:
        plugins.run(side.module(), picture)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"resolution": 63}, "resolution: 63 .* 64 to 2048"),
        ({"resolution": float("nan")}, "resolution: nan"),
        ({"resolution": 512.5}, "resolution: 512.5 .* whole numbers from 64 to 2048"),
        ({"threshold": 1}, "threshold: 1 .* of invert's parameters: resolution, low"),
        ({"low": 1e9}, "low: 1000000000.0 .* 0 to 255"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused_before_anything_is_sent(side, picture, parameters, told):
    given = [parameter("resolution", minimum=64, maximum=2048, default=512), parameter("low", type="number")]
    plugin = side.made(misbehaving.Plugin, modules=[module(parameters=given)])
    with pytest.raises(UnsupportedError, match=told):
        side.has(plugin).run(side.module(), picture, parameters=parameters)
    assert plugin.runs == []


def test_a_picture_of_more_pixels_than_the_plugin_takes_is_refused_by_the_callers_field(side, picture):
    plugin = side.made(misbehaving.Plugin, limits={"pixels": 53, "seconds": 1})
    with pytest.raises(UnsupportedError, match=r"upscaler_1: '9x6' .* at most 53 pixels for good/invert"):
        side.has(plugin).run(side.module(), picture, field="upscaler_1")


def test_a_picture_whose_map_would_have_more_pixels_than_are_accepted_is_refused_and_not_asked(side, picture):
    given = [parameter("resolution", minimum=64, maximum=2048, default=64)]
    plugin = side.made(misbehaving.Plugin, modules=[module(parameters=given)])
    plugins = side.has(plugin, bounds=Bounds(map_pixels=96 * 64))
    plugins.judge_size(side.module(), (9, 6), {"resolution": 64}, field="image")
    told = r"image: '9x6' .* of which good/invert makes at most 6144 pixels, not 7776"
    with pytest.raises(UnsupportedError, match=told):
        plugins.judge_size(side.module(), (9, 6), {"resolution": 72}, field="image")
    with pytest.raises(UnsupportedError, match=told):
        plugins.run(side.module(), picture, parameters={"resolution": 72})
    assert plugin.runs == []


@pytest.mark.parametrize("mask", [(6, 9), (6, 8)])
def test_a_mask_that_the_module_does_not_take_is_refused(side, picture, mask):
    takes = mask != picture.shape[:2]
    plugin = side.made(misbehaving.Plugin, modules=[module(mask=takes)])
    with pytest.raises(UnsupportedError, match=r"mask: '[89]x6' .* (none for|masks of 9x6)"):
        side.has(plugin).run(side.module(), picture, np.zeros(mask, np.uint8))


def test_a_module_that_says_it_is_not_available_is_not_asked(side, picture):
    plugin = side.made(misbehaving.Plugin, modules=[module(available=False, reason="hed.pth is missing")])
    with pytest.raises(PluginUnavailable, match=r"plugin good, module invert: hed.pth is missing"):
        side.has(plugin).run(side.module(), picture)
    assert plugin.runs == []


def test_at_most_four_runs_are_under_way_and_others_wait_for_their_turn(side, picture):
    plugin = side.made(misbehaving.Slow, 0.1)
    plugins, handle = side.has(plugin), side.module()
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: plugins.run(handle, picture), range(12)))
    assert plugin.most_at_once == 4


def test_a_plugin_that_hangs_keeps_few_threads_and_others_go_on(side, picture, monkeypatch):
    monkeypatch.setattr("sd_runtime.plugins.plugin._PLACE_SECONDS", 0.2)
    hanging = side.made(misbehaving.Hanging, name="hanging", modules=[module("hang")])
    plugins = side.has(hanging, side.made(misbehaving.Plugin), seconds=1.0)
    hang = side.module("hang")

    def ask(_):
        try:
            plugins.run(hang, picture)
        except PluginError as error:
            return error

    with ThreadPoolExecutor(16) as pool:
        began = time.monotonic()
        stuck = [pool.submit(ask, each) for each in range(20)]
        assert np.array_equal(pool.submit(plugins.run, side.module(), picture).result().image, 255 - picture)
        assert time.monotonic() - began < 0.9
        told = [str(each.result()) for each in stuck]
    assert len(hanging.runs) <= 8
    assert any("4 runs are under way and 8 wait" in each for each in told)
    assert any("others were under way until its time was over" in each for each in told)


def test_a_run_may_take_as_long_as_its_plugin_says(side, picture):
    plugin = side.made(misbehaving.Hanging, limits={"pixels": 1_000_000, "seconds": 0.5})
    plugins = side.has(plugin, seconds=600.0)
    began = time.monotonic()
    with pytest.raises(PluginError, match=r"it took longer than it may, 0\.5 s$"):
        plugins.run(side.module(), picture)
    assert 0.4 < time.monotonic() - began < 1.5
    assert float(plugin.runs[0].headers["sd-deadline"]) < 0.5


def test_waiting_for_its_turn_takes_nothing_of_a_runs_time(side, picture):
    plugin = side.made(misbehaving.Slow, 0.5, limits={"pixels": 1_000_000, "seconds": 0.9})
    plugins, handle = side.has(plugin, seconds=0.9), side.module()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: plugins.run(handle, picture), range(8)))
    assert len(made) == 8
    assert all(float(asked.headers["sd-deadline"]) > 0.5 for asked in plugin.runs)


@pytest.mark.parametrize("late", [misbehaving.Hanging, misbehaving.Late])
def test_who_comes_too_late_hears_of_those_before_it(side, picture, late):
    plugins, handle = side.has(side.made(late), seconds=0.5), side.module()
    with ThreadPoolExecutor(2) as pool:
        failed = [pool.submit(plugins.run, handle, picture).exception() for _ in range(1)]
        failed += [each.exception() for each in [pool.submit(plugins.run, handle, picture) for _ in range(2)]]
    told = sorted(str(each).partition("; ")[2] for each in failed)
    assert told == ["", "", "1 more of its runs were under way"]


async def test_it_can_be_asked_from_the_event_loop(side, picture):
    plugins = side.has(side.made(misbehaving.Plugin))
    assert np.array_equal((await plugins.ask(side.module(), picture)).image, 255 - picture)


def test_closing_ends_a_run_at_once(side, picture):
    plugins = side.has(side.made(misbehaving.Hanging), seconds=60)
    threading.Timer(0.2, plugins.close).start()
    began = time.monotonic()
    with pytest.raises(PluginUnavailable, match="this server is ending"):
        plugins.run(side.module(), picture)
    assert time.monotonic() - began < 5
