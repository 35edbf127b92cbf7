"""The images as hack/install built them and gave them to the cluster: what is in them, what is not, and that
what they are made of works in a pod with a read-only root. buildah, which has them, is asked for the rest.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import re
import stat
import subprocess
import tomllib
from collections.abc import Iterator

import pytest
from cluster import Cluster, Kube, Manifest
from conftest import ROOT
from sidecars import built_image

MEGABYTE = 1_000_000
ON_TORCH = ["runtime", "demo-hub", "plugin-aux", "plugin-upscale"]
ON_OPENCV = ["plugin-basic", "plugin-openpose"]
IMAGES = ["operator", *ON_TORCH, *ON_OPENCV]
#: What builds or administers a system, by the names of its programs.
TOOLS = re.compile(
    r"(apt|apt-get|dpkg|gcc|cc|g\+\+|c\+\+|clang|make|cmake|ld|as|perl|pip[\d.]*|uv|uvx|git|curl|wget|su|sudo"
    r"|mount|umount|passwd|chsh)(-[\d.]+)?"
)
PROGRAMS = ["usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "opt/venv/bin"]
INSTALLERS = {"pip", "ensurepip", "wheel"}
#: Where programs leave what they were told in confidence, or what they were downloading.
LEFT = ["root/.[!bp]*", "root/[!.]*", "home/*/*", "etc/pip.conf", "etc/apt/auth.conf*", "opt/venv/pip.conf"]
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


@functools.cache
def reference(name: str) -> str:
    built = (ROOT / "build" / "install" / "images").read_text().split()
    (found,) = [each for each in built if f"/{name}:" in each]
    return found


@functools.cache
def inspected(name: str) -> Manifest:
    command = ["buildah", "inspect", "--type", "image", reference(name)]
    found: Manifest = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def label(name: str, key: str) -> str:
    return str(inspected(name)["OCIv1"]["config"]["Labels"][f"org.opencontainers.image.{key}"])


def layers(name: str) -> list[tuple[str, int]]:
    """Digests and bytes, uncompressed, from the base up."""
    return [(each["digest"], each["size"]) for each in json.loads(inspected(name)["Manifest"])["layers"]]


@contextlib.contextmanager
def mounted(image: str) -> Iterator[pathlib.Path]:
    def buildah(*arguments: str) -> str:
        done = subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    container = buildah("from", "--pull-never", image)
    try:
        yield pathlib.Path(buildah("mount", container))
    finally:
        buildah("rm", container)


@pytest.fixture(scope="module", params=IMAGES)
def root(request: pytest.FixtureRequest) -> Iterator[pathlib.Path]:
    """An image's files."""
    with mounted(reference(request.param)) as folder:
        yield folder


def modes(root: pathlib.Path) -> dict[str, int]:
    """The mode of each file and folder; links and devices have none of their own."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = pathlib.Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                found[str(path.relative_to(root))] = mode
    return found


def test_the_operators_image_has_150_megabytes_at_most() -> None:
    assert sum(size for _, size in layers("operator")) <= 150 * MEGABYTE


def test_the_images_with_pytorch_have_its_layer_in_common() -> None:
    (largest,) = {max(layers(name), key=lambda layer: layer[1]) for name in ON_TORCH}
    assert largest[1] > 5000 * MEGABYTE
    # A layer is stored once only where all below it are the same too.
    (_below,) = {tuple(layers(name)[: layers(name).index(largest)]) for name in ON_TORCH}


def test_the_images_with_opencv_alone_have_its_layer_in_common() -> None:
    (largest,) = {max(layers(name)[1:4], key=lambda layer: layer[1]) for name in ON_OPENCV}
    assert largest[1] > 100 * MEGABYTE
    (_below,) = {tuple(layers(name)[: layers(name).index(largest)]) for name in ON_OPENCV}


def test_the_hub_is_the_runtimes_image_and_some_files() -> None:
    shared = len(layers("runtime"))
    assert layers("demo-hub")[:shared] == layers("runtime")
    assert sum(size for _, size in layers("demo-hub")[shared:]) < 200 * MEGABYTE


@pytest.mark.parametrize("name", IMAGES)
def test_the_user_is_a_number_and_not_root(name: str) -> None:
    assert inspected(name)["OCIv1"]["config"]["User"] == "10001:10001"


@pytest.mark.parametrize("name", IMAGES)
def test_its_labels_say_what_it_is(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert label(name, "version") == project["version"]
    assert label(name, "licenses") == project["license"]
    assert re.fullmatch(r"([0-9a-f]{40})?", label(name, "revision"))  # of a release only
    assert label(name, "title").startswith("sd-operator")
    assert label(name, "description")
    assert re.fullmatch(r"\S+[/:]\S+", label(name, "base.name"))


@pytest.mark.parametrize("name", ON_TORCH)
def test_its_labels_say_what_driver_it_needs(name: str) -> None:
    assert inspected(name)["OCIv1"]["config"]["Labels"]["dev.sdoperator.nvidia-driver"] == ">=525"


def test_titles_and_descriptions_differ() -> None:
    for key in ("title", "description"):
        assert len({label(name, key) for name in IMAGES}) == len(IMAGES)


def test_there_are_no_tools_that_build_or_administer_inside(root: pathlib.Path) -> None:
    programs = {path.name for folder in PROGRAMS for path in (root / folder).glob("*")}
    assert "sh" in programs
    assert {name for name in programs if TOOLS.fullmatch(name)} == set()
    for home in (*root.glob("usr/**/python3*/*-packages"), *root.glob("opt/venv/lib/python3*/site-packages")):
        assert {path.name for path in home.iterdir()} & INSTALLERS == set(), home
        assert {path.name for path in home.parent.iterdir()} & INSTALLERS == set(), home


def test_no_file_lends_the_rights_of_another_user_and_none_is_open_to_all(root: pathlib.Path) -> None:
    found = modes(root)
    assert {path for path, mode in found.items() if mode & 0o6000 and stat.S_ISREG(mode)} == set()
    assert {path for path, mode in found.items() if mode & 0o002 and not mode & stat.S_ISVTX} == set()


def test_the_list_of_debian_packages_is_true(root: pathlib.Path) -> None:
    status = (root / "var/lib/dpkg/status").read_text()
    named = set(re.findall(r"^Package: (\S+)$", status, re.M))
    assert {"libc6", "libssl3", "ca-certificates"} <= named
    assert not named & {"apt", "dpkg", "perl-base", "login", "mount"}
    # What is said to be installed has its files.
    for path in (root / "var/lib/dpkg/info").glob("lib*.list"):
        libraries = [line for line in path.read_text().split() if re.search(r"/lib/.*\.so\.\d+$", line)]
        assert [line for line in libraries if not os.path.lexists(root / line[1:])] == [], path.name


def test_nothing_is_left_of_the_machine_that_built_it(
    root: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    assert [path for pattern in LEFT for path in root.glob(pattern)] == []
    name = request.node.callspec.params["root"]
    config = inspected(name)["OCIv1"]["config"]
    assert not [
        each for each in config["Env"] if re.search("TOKEN|SECRET|PASSWORD|PROXY|SSL_CERT", each, re.I)
    ]
    # Not the certificate authorities that the build trusted.
    with mounted(label("operator", "base.name")) as base:
        assert digest(root / CERTIFICATES) == digest(base / CERTIFICATES)


def digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


#: Run in each image: what it imports of its own and of Python, whom it trusts, and where it can write.
INSIDE = """
import importlib, os, pathlib, pkgutil, sqlite3, ssl, sys, sysconfig, warnings
warnings.simplefilter("ignore", DeprecationWarning)
for library in pathlib.Path(sysconfig.get_path("platstdlib"), "lib-dynload").glob("*.so"):
    importlib.import_module(library.name.split(".")[0])
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{name}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
trusted = ssl.get_default_verify_paths()
assert trusted.cafile or len(list(pathlib.Path(trusted.capath).glob("*.0"))) > 100, trusted
assert os.getuid() == 10001
pathlib.Path("/tmp/file").write_text("")
for folder in ("/", "/opt", "/opt/venv", "/var/tmp", "/run"):
    try:
        pathlib.Path(folder, "file").write_text("")
    except OSError:
        continue
    sys.exit(f"{folder} can be written")
print("whole")
"""
#: Beside what is the project's own: what its code imports late.
IMPORTS = {
    "operator": ["sd_operator", "sd_modelfiles", "botocore.auth", "botocore.credentials", "kopf"],
    "runtime": ["sd_runtime", "sd_page", "sd_modelfiles"],
    "demo-hub": ["demo.hub"],
    "plugin-basic": ["sd_plugin.server", "sd_plugin.worker", "sd_plugin.plugins.basic"],
    "plugin-openpose": ["sd_plugin.server", "sd_plugin.worker", "sd_plugin.plugins.openpose"],
    "plugin-aux": ["sd_plugin.server", "sd_plugin.worker", "sd_plugin.plugins.aux_detectors"],
    "plugin-upscale": ["sd_plugin.server", "sd_plugin.worker", "sd_plugin.plugins.upscale"],
}


def test_each_works_with_a_read_only_root(kube: Kube, cluster: Cluster) -> None:
    kube.apply(pod({name: built_image(cluster, name) for name in IMAGES}))
    kube.wait(
        lambda: kube.get("pod", "inside")["status"]["phase"] in ("Succeeded", "Failed"), "the pod to end", 240
    )
    said = {name: kube.run("logs", "inside", "-c", name) for name in IMAGES}
    assert {name: text.splitlines()[-1:] for name, text in said.items()} == {
        name: ["whole"] for name in IMAGES
    }, said


def pod(images: dict[str, str]) -> Manifest:
    containers = [
        {
            "name": name,
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", INSIDE, *IMPORTS[name]],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp", "subPath": name}],
        }
        for name, image in images.items()
    ]
    security = {"runAsNonRoot": True, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": security,
        "containers": containers,
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "inside"}, "spec": spec}
