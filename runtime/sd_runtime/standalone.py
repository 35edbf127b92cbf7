"""The server of one person, alone on a workstation: its command line, and what that means as settings.

Nothing has to be prepared: a folder of model files is enough. Knows no cluster.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, CliApp, CliSettingsSource, SettingsConfigDict

from sd_modelfiles.kinds import ModelType
from sd_runtime import log
from sd_runtime.errors import SdError, UnsupportedError
from sd_runtime.guards.auth import CredentialFiles
from sd_runtime.models.library import Library, ModelFile
from sd_runtime.settings import Settings, complaints


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever has started the process by hand."""

    #: What to tell once it listens.
    greeting: str
    #: Removes what is kept for the process alone; for where it ends at once.
    tidy: Callable[[], None]


#: Serves until it is to end; the process's exit status.
Live = Callable[[Settings, Person], int]

_NO_CHECKPOINT = (
    "no checkpoint is in {folder}: put a file like v1-5-pruned-emaonly.safetensors there (or below "
    "models/Stable-diffusion in it), or give another folder with --models-dir"
)


class CommandLine(BaseSettings):
    """A Stable Diffusion server that speaks AUTOMATIC1111's API."""

    model_config = SettingsConfigDict(
        cli_prog_name="sd-runtime",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        extra="forbid",
    )

    models_dir: Path = Field(
        description="folder of model files: laid out as A1111's folder, or simply with checkpoints in it"
    )
    checkpoint: str | None = Field(
        None, description="name of the checkpoint to begin with, instead of the first in the folder"
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0: reachable from other machines")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on")
    auth: str | None = Field(
        None,
        description="user:password that clients must give; who is on this machine sees it in its processes",
    )
    auth_dir: Path | None = Field(
        None, description="folder with the files username and password, or token, or all, in place of --auth"
    )
    output_dir: Path = Field(Path("outputs"), description="where pictures are saved")
    device: Literal["auto", "cuda", "cpu"] = Field("auto", description="what computes")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="number format of the weights"
    )
    allow_pickles: bool = Field(False, description="also load .ckpt and .pt files")
    compile: bool = Field(False, description="compile the network: faster after a slow first picture (CUDA)")
    cors_origins: str = Field("", description="origins whose pages may call this server, by commas")
    page: bool = Field(True, description="a page to work with in a browser, beside the API")
    root_path: str = Field("", description="path below which a proxy in front has this server, such as /sd")
    management_port: int | None = Field(
        None, ge=0, le=65535, description="further port, for /metrics and /v1/state"
    )
    plugin_dir: Path | None = Field(None, description="folder of plugins' sockets, NAME.sock each")

    @classmethod
    def settings_customise_sources(cls, *_: Any, **__: Any) -> tuple[Any, ...]:
        """The command line alone: a variable that another program sets must not change what was typed. What
        has no argument is a setting (SD_MAX_STEPS, …), and read from the environment."""
        return ()


def run(arguments: Sequence[str], live: Live) -> int:
    """Serves until SIGTERM or Ctrl-C; the process's exit status: that of `live`, or 2 when the arguments are
    wrong."""
    given = parsed(arguments)
    if isinstance(given, int):
        return given
    log.configure("INFO", plain=True)
    with tempfile.TemporaryDirectory(prefix="sd-runtime-") as private:
        try:
            settings = settings_of(given, Path(private))
        except SdError as error:
            sys.stderr.write(f"sd-runtime: {error}\n")
            return 2
        except ValidationError as error:  # of what is not given as an argument: SD_MAX_STEPS, …
            sys.stderr.writelines(f"sd-runtime: {each}\n" for each in complaints(error))
            return 2
        log.configure(settings.log_level, plain=True)
        tidy = partial(shutil.rmtree, private, ignore_errors=True)
        return live(settings, Person(welcome(settings), tidy))


def settings_of(given: CommandLine, private: Path) -> Settings:
    """What the arguments mean; `private` is a folder that nobody else may read. Raises `UnsupportedError`."""
    folder = given.models_dir.expanduser().absolute()
    if not folder.is_dir():
        raise UnsupportedError("--models-dir", str(given.models_dir), "a folder that exists")
    auth_dir = _credentials(given, private)
    # What was not typed may come from the environment, as settings without an option do.
    typed: dict[str, Any] = {} if given.plugin_dir is None else {"plugin_dir": _plugin_dir(given.plugin_dir)}
    return Settings(
        model_roots=(folder,),
        checkpoint=_checkpoint(Library([folder]), folder, given).path,
        output_dir=given.output_dir.expanduser().absolute(),
        cache_dir=_cache_dir(),
        host=given.host,
        port=given.port,
        management_port=given.management_port,
        auth="required" if auth_dir else "disabled",
        auth_dir=auth_dir or private,
        device=given.device,
        dtype=given.dtype,
        allow_pickles=given.allow_pickles,
        compile=given.compile,
        page="on" if given.page else "off",
        root_path=given.root_path,
        cors_origins=given.cors_origins,  # type: ignore[arg-type]  # split by its validator
        **typed,
    )


def _plugin_dir(given: Path) -> Path:
    folder = given.expanduser().absolute()
    if not folder.is_dir():
        raise UnsupportedError("--plugin-dir", str(given), "a folder that exists")
    return folder


def welcome(settings: Settings) -> str:
    """What is told at start: where to find the server, and with what."""
    shown = "127.0.0.1" if settings.host in ("", "0.0.0.0", "::") else settings.host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{settings.port}"
    assert settings.checkpoint is not None
    lines = [
        f"loading {settings.checkpoint.name}; then this answers:",
        *([f"  {address}/   (a page for a browser)"] if settings.page == "on" else ()),
        f"  {address}/sdapi/v1/txt2img   (what else there is: {address}/openapi.json)",
        f"  pictures are saved in {settings.output_dir}",
    ]
    if settings.auth == "disabled" and settings.host not in ("127.0.0.1", "::1", "localhost"):
        lines.append("  anybody who reaches this address may use it: --auth user:password changes that")
    return "\n".join(lines)


def parsed(arguments: Sequence[str]) -> CommandLine | int:
    """What was typed, or the exit status after telling what is wrong with it, or what there is."""
    try:
        source = CliSettingsSource[Any](CommandLine, cli_parse_args=list(arguments))
        return CliApp.run(CommandLine, cli_args=list(arguments), cli_settings_source=source)
    except ValidationError as error:
        for problem in error.errors():
            name = "-".join(str(part).replace("_", "-") for part in problem["loc"])
            value = "" if problem["type"] == "missing" else f" (it is {problem['input']!r})"
            sys.stderr.write(f"sd-runtime: --{name}: {problem['msg']}{value}\n")
        sys.stderr.write("sd-runtime --help lists what there is\n")
        return 2
    except SystemExit as end:  # argparse has told why, or what there is
        return end.code if isinstance(end.code, int) else 2


def _checkpoint(library: Library, folder: Path, given: CommandLine) -> ModelFile:
    known = [
        file
        for file in library.all(ModelType.CHECKPOINT)
        if given.allow_pickles or file.path.suffix.lower() != ".ckpt"
    ]
    if not known:
        raise UnsupportedError("--models-dir", str(given.models_dir), _NO_CHECKPOINT.format(folder=folder))
    if given.checkpoint is None:
        return known[0]
    found = library.find(ModelType.CHECKPOINT, given.checkpoint)
    if found is None:
        raise UnsupportedError("--checkpoint", given.checkpoint, [file.name for file in known])
    return found


def _credentials(given: CommandLine, private: Path) -> Path | None:
    """The folder that holds them; None: nobody is asked for any."""
    if given.auth_dir is None:
        if given.auth is None:
            return None
        _write_credentials(given.auth, private)
        return private
    if given.auth is not None:
        raise UnsupportedError("--auth-dir", str(given.auth_dir), "no --auth beside it")
    folder = given.auth_dir.expanduser().absolute()
    complaint = CredentialFiles(folder).complaint()
    if complaint:
        allowed = f"a folder with the files username and password, or token, and here {complaint}"
        raise UnsupportedError("--auth-dir", str(given.auth_dir), allowed)
    return folder


def _write_credentials(auth: str, private: Path) -> None:
    name, separator, password = auth.partition(":")
    if not (name and separator and password):
        raise UnsupportedError("--auth", "…", "user:password, neither of them empty")
    for file, text in (("username", name), ("password", password)):
        (private / file).touch(mode=0o600)
        (private / file).write_text(text)


def _cache_dir() -> Path | None:
    with suppress(RuntimeError):  # no home
        return Path.home() / ".cache" / "sd-runtime"
    return None
