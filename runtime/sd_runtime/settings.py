"""Every setting of the runtime process, read once from the environment (prefix `SD_`).

Nothing else reads the environment. It does not know what the settings are used for beyond the sentence beside
each.
"""

import json
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
#: What routes begin with: below a prefix of the same name, one that was taken off and one that was not look
#: alike.
_OWN_PATHS = frozenset({"sdapi", "controlnet", "internal", "v1", "openapi.json", "gradio_api"})
_MIB = 1024 * 1024
#: Of a plugin's name, which names its socket, too.
PLUGIN_NAME = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
_Word = Annotated[str, Field(min_length=1, max_length=100)]


class WantedModule(BaseModel):
    """A module of a plugin, by name or alias, and what is said of it in place of the plugin's own words."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_+.-]{0,62}$")
    control_type: _Word | None = Field(default=None, alias="controlType")
    matches: tuple[_Word, ...] | None = Field(default=None, max_length=32)


class WantedPlugin(BaseModel):
    """A plugin that is to be there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=PLUGIN_NAME)
    kind: Literal["Preprocessor", "Upscaler"]
    modules: tuple[WantedModule, ...] = Field(default=(), max_length=128)


class Settings(BaseSettings):
    """The runtime's settings; the operator writes them into the pod."""

    model_config = SettingsConfigDict(env_prefix="SD_", frozen=True, extra="ignore")

    # What is served.

    #: Folders laid out as A1111 lays them out (models/Stable-diffusion/…), separated by colons. What they
    #: hold is listed to clients; a checkpoint is named by its path below the first root that holds it.
    model_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    #: The checkpoint to serve, where no operator says which: an absolute path. Either this or `desired_file`
    #: must be given.
    checkpoint: Path | None = None
    #: A JSON file with what to serve at start: {"revision": …, "checkpoint": {"path": …, "sha256": …},
    #: "options": {…}}. Read once; later wishes come over the management port.
    desired_file: Path | None = None
    #: `on`: a small picture is made before a loaded checkpoint is served, so that one that cannot make
    #: pictures is found out, and the first request is not slower than the others.
    warm_up: Literal["on", "off"] = "on"
    #: Whether files are loaded that only a pickle reader can open (.ckpt, .pt, .bin, .pth). They are read
    #: without running anything in them; off, they are listed nowhere and refused by name. Textual inversions
    #: and hypernetworks, which come in no other form, are read in any case.
    allow_pickles: bool = False
    #: Files of prompt styles in A1111's form (styles.csv), separated by colons; none given: styles.csv of
    #: each model root.
    styles_files: Annotated[tuple[Path, ...], NoDecode] = ()
    #: Where pictures are saved: txt2img-images/<date>/ and so on below it.
    output_dir: Path = Path("/outputs")
    #: Days that saved pictures are kept; unset: for ever.
    output_retention_days: int | None = Field(default=None, ge=1, le=36_500)
    #: Where digests of files and compiled kernels are kept between two starts; unset: nowhere.
    cache_dir: Path | None = None

    # The device.

    #: `auto` takes a CUDA device when there is one; `cuda` fails to load without one.
    device: Literal["auto", "cuda", "cpu"] = "auto"
    #: Number format of the weights; `auto`: float16 on CUDA, float32 on a CPU.
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    #: Most model evaluations that the engine joins in one call of the network.
    max_batch: int = Field(default=16, ge=1, le=256)
    #: Bytes of checkpoints kept in the device's memory beside each other; too few for two: one at a time.
    checkpoint_cache_bytes: int = Field(default=0, ge=0)
    #: Bytes of LoRAs and hypernetworks that are kept for later requests.
    adapter_cache_bytes: int = Field(default=1024 * _MIB, ge=0)
    #: Bytes of ControlNets that are kept for later requests; those in use stay however large they are.
    controlnet_cache_bytes: int = Field(default=3 * 1024 * _MIB, ge=0)
    #: Whether the network's repeated blocks are compiled: on CUDA, faster after a slow first request.
    compile: bool = False

    # The doors.

    #: Address to listen on, for both ports; empty: every one of the machine, IPv4 and IPv6, because a pod's
    #: may be of either family.
    host: str = ""
    #: The port users' tools speak to.
    port: int = Field(default=7860, ge=0, le=65535)
    #: The port for probes, metrics and the operator; None (alone on a workstation): there is none.
    management_port: int | None = Field(default=9091, ge=0, le=65535)
    #: `required`: HTTP Basic, or a bearer token, on every route of the users' port.
    auth: Literal["required", "disabled"] = "required"
    #: The folder of the files `username`, `password` and, for bearers, `token`; they are read again when
    #: they change.
    auth_dir: Path = Path("/etc/sd-runtime/auth")
    #: Hex SHA-256 of the bearer token of /v1/state; empty: only loopback clients may read it.
    management_token_sha256: str = ""
    #: Origins whose pages may call this server from a browser (https://a.example or *), separated by commas.
    #: They may also show this server's page in a frame, but for *.
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    #: `on`: a page to work with is served on /, beside the API and behind the same authentication.
    page: Literal["on", "off"] = "on"
    #: The path below which whoever is in front (an ingress, a proxy) has this server: /sd. Whether they take
    #: it off the requests that they pass on, or not, is all the same. Empty: there is none.
    root_path: str = ""
    #: `on`: a request may name its pictures by http(s) URL; the server fetches them, from public addresses
    #: only.
    image_urls: Literal["off", "on"] = "off"

    # Plugins: preprocessors and upscalers in processes of their own.

    #: The folder of their sockets, <name>.sock each; unset: there are none.
    plugin_dir: Path | None = None
    #: Which they are, as JSON: [{"name": "controlnet-basic", "kind": "Preprocessor", "modules": [{"name":
    #: "canny", "controlType": "Canny", "matches": ["canny"]}]}]. `modules` may be left out; what it says of a
    #: module counts more than what the plugin says, and one that the plugin does not have is told of. Of two
    #: plugins that offer a module of one name the earlier one's has it. Unset: each socket in the folder.
    plugins: Annotated[tuple[WantedPlugin, ...] | None, NoDecode] = Field(default=None, max_length=32)
    #: Seconds that a plugin may take for one picture at most; its own limit counts where that is less. A
    #: picture waits for its turn as long at most, before that.
    plugin_seconds: float = Field(default=600.0, ge=1, le=3600)

    # Limits of one request; a larger one is refused by field and value.

    #: Bytes of a request's body; pictures in it are base64, 4 bytes for 3.
    max_body_bytes: int = Field(default=64 * _MIB, ge=1024)
    #: Sampling steps of a picture, for each pass.
    max_steps: int = Field(default=150, ge=1)
    #: Pixels of a picture's longer side.
    max_side: int = Field(default=2048, ge=64)
    #: Pixels of all pictures of a request together; also of those sent along.
    max_pixels_per_request: int = Field(default=64 * _MIB, ge=4096)
    #: Pixels of one picture that is sent along.
    max_input_pixels: int = Field(default=16 * _MIB, ge=4096)
    #: Pictures made at once (batch_size).
    max_batch_size: int = Field(default=8, ge=1)
    #: Batches one after the other (n_iter).
    max_iterations: int = Field(default=16, ge=1)

    # Requests and jobs.

    #: Requests accepted and not yet answered; one more is refused with 429.
    queue_limit: int = Field(default=64, ge=1, le=10_000)
    #: Pixels of the pictures sent along with all unfinished requests together; while there is no room for one
    #: more, its request is refused with 429. Each takes 4 bytes. At least as many as one request may have.
    max_pixels_in_flight: int = Field(default=128 * _MIB, ge=4096)
    #: Seconds that what became of a job is kept for those who ask by its id.
    job_keep_seconds: float = Field(default=900.0, ge=1, le=86_400)
    #: Bytes of finished jobs' results that are kept; the oldest go first.
    job_keep_bytes: int = Field(default=128 * _MIB, ge=0)
    #: DNS name that leads to every replica of this service, this one included; empty: there is only this one.
    peers: str = ""
    #: The address by which the other replicas reach this one; needed with `peers`.
    pod_ip: str = ""
    #: Seconds that accepted requests may still take after SIGTERM; must end before the pod's grace period.
    #: The default suits Kubernetes' own of 30 s; the operator sets spec.rollout.drainTimeoutSeconds (600 by
    #: default), and gives the pod a grace period a little longer.
    drain_seconds: float = Field(default=25.0, ge=0, le=86_400)
    #: Least severity that is logged.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("model_roots", "styles_files", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("plugins", mode="before")
    @classmethod
    def _read_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.strip() else None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"must be JSON: {error}") from error

    @field_validator("plugins")
    @classmethod
    def _each_once(cls, value: tuple[WantedPlugin, ...] | None) -> tuple[WantedPlugin, ...] | None:
        names = [plugin.name for plugin in value or ()]
        if len(set(names)) < len(names):
            raise ValueError("must name each plugin once")
        return value

    @field_validator("output_retention_days", "cache_dir", "plugin_dir", mode="before")
    @classmethod
    def _unset_when_empty(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("checkpoint", "desired_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError("must be an absolute path")
        return value

    @field_validator("management_token_sha256")
    @classmethod
    def _hex_digest(cls, value: str) -> str:
        if value and not _SHA256.fullmatch(value.lower()):
            raise ValueError("must be 64 hexadecimal digits, or empty")
        return value.lower()

    @field_validator("root_path")
    @classmethod
    def _prefix(cls, value: str) -> str:
        path = value.rstrip("/")
        if not _ROOT_PATH.fullmatch(path):
            raise ValueError("must be a path of letters, digits and .~_- such as /sd, or empty")
        if path and path.split("/")[1] in _OWN_PATHS:
            raise ValueError(f"must not begin as paths of its own do: {', '.join(sorted(_OWN_PATHS))}")
        return path

    @field_validator("pod_ip")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            return str(ip_address(value)) if value else ""
        except ValueError as error:
            raise ValueError("must be an IPv4 or IPv6 address, or empty") from error

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.checkpoint is None) == (self.desired_file is None):
            given = "neither is" if self.checkpoint is None else "both are"
            raise ValueError(f"exactly one of SD_CHECKPOINT and SD_DESIRED_FILE must be given; {given}")
        return self

    @model_validator(mode="after")
    def _plugins_have_a_folder(self) -> Self:
        if self.plugins and self.plugin_dir is None:
            raise ValueError("SD_PLUGIN_DIR must be given with SD_PLUGINS: their sockets are in that folder")
        return self

    @model_validator(mode="after")
    def _known_among_peers(self) -> Self:
        if self.peers and not self.pod_ip:
            raise ValueError("SD_POD_IP must be given with SD_PEERS: the other replicas reach this one by it")
        return self


def complaints(error: ValidationError) -> list[str]:
    """What is wrong with the environment: a sentence for each setting, or for several that do not go
    together, which it names itself."""
    sentences = []
    for problem in error.errors():
        # pydantic puts "Value error, " before what a validator says.
        own = problem.get("ctx", {}).get("error") if problem["type"] == "value_error" else None
        said = problem["msg"] if own is None else str(own)
        if problem["loc"]:
            place = ".".join([str(problem["loc"][0]).upper(), *map(str, problem["loc"][1:])])
            said = f"SD_{place}: {said} (it is {problem['input']!r})"
        sentences.append(said)
    return sentences
