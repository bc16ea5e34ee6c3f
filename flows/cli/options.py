"""The options that commands share, written once.

A command that takes `options: RunOptions` has every option of that class on the command line; `shared_options` puts
them there. So a new shared option, or a change of its help, is one line here.
"""

from __future__ import annotations

import dataclasses
import functools
import getpass
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from rich.logging import RichHandler

from humwatch.flows.cli.console import ERRORS
from humwatch.flows.presets import PresetName, load, overrides
from humwatch.tasks.settings import Settings

R = TypeVar("R")

Sources = Annotated[list[str], typer.Argument(help="Archives, folders or recordings; paths or URIs.")]
SourcesToLookInto = Annotated[list[str] | None, typer.Argument(help="Archives or folders to look into.")]
LakeUri = Annotated[str, typer.Option("--lake", envvar="HUMWATCH_LAKE", help="Root URI of the lake.")]
MaybeLakeUri = Annotated[str | None, typer.Option("--lake", envvar="HUMWATCH_LAKE", help="Root URI of the lake.")]
Machines = Annotated[str | None, typer.Option(help="Pattern on TYPE/ID (SITE/TYPE/ID), such as 'fan/*'.")]
Preset = Annotated[PresetName, typer.Option(help="Base settings.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file, one table a section.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; repeatable.")]
Backbones = Annotated[list[str] | None, typer.Option("--backbone", help="Representation; repeatable.")]
Detectors = Annotated[list[str] | None, typer.Option("--detector", help="Detector; repeatable.")]
Workers = Annotated[int | None, typer.Option(help="Worker processes of the local cluster.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output and nothing else.")]
By = Annotated[str | None, typer.Option("--by", envvar="HUMWATCH_USER", help="Who says so; unset: the login name.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Log every unit of work, retry and refusal on standard error.")
]


@dataclass(frozen=True)
class SettingsOptions:
    """Options that say what the settings are."""

    preset: Preset = "default"
    config: ConfigFile = None
    assignments: Assignments = None
    backbone: Backbones = None
    detector: Detectors = None

    def flags(self) -> dict[str, dict[str, Any]]:
        """Return what flags set, by section."""
        given: dict[str, dict[str, Any]] = {
            "features": {"backbones": self.backbone},
            "fit": {"detectors": self.detector},
        }
        return _without_empty(given)

    def settings(self) -> Settings:
        """Return the settings of the run.

        Raises:
            BadConfiguration: see `presets.load`.
        """
        return load(self.preset, self.config, self.flags(), self.assignments or ())

    def overrides(self) -> dict[str, dict[str, Any]]:
        """Return by section what is set above the preset.

        Raises:
            BadConfiguration: see `presets.overrides`.
        """
        return overrides(self.config, self.flags(), self.assignments or ())


@dataclass(frozen=True)
class ReadingOptions(SettingsOptions):
    """Options of commands that only look into a lake."""

    as_json: AsJson = False
    verbose: Verbose = False


@dataclass(frozen=True)
class WorkerOptions(SettingsOptions):
    """Options of commands that have workers."""

    workers: Workers = None
    device: Device = None

    def flags(self) -> dict[str, dict[str, Any]]:
        """Return what flags set, by section."""
        flags = super().flags()
        for section, keys in worker_flags(self.workers, self.device).items():
            flags[section] = {**flags.get(section, {}), **keys}
        return flags


@dataclass(frozen=True)
class RunOptions(WorkerOptions):
    """Options of commands that run stages."""

    as_json: AsJson = False
    verbose: Verbose = False


def worker_flags(workers: int | None, device: str | None) -> dict[str, dict[str, Any]]:
    """Return what the flags of workers set, by section."""
    return _without_empty(
        {"features": {"device": device}, "fit": {"autoencoder_device": device}, "dask": {"workers": workers}}
    )


def shared_options(command: Callable[..., R]) -> Callable[..., R]:
    """Let a command take its parameter `options`, a dataclass of options, as so many options after its own."""
    hints = get_type_hints(command, include_extras=True)
    kind = hints["options"]
    shared, types = dataclasses.fields(kind), get_type_hints(kind, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "options"
    ]
    parameters += [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name]
        )
        for field in shared
    ]

    @functools.wraps(command)
    def with_options(**given: Any) -> R:
        options = kind(**{field.name: given.pop(field.name) for field in shared})
        if getattr(options, "verbose", False):
            log_everything()
        return command(**given, options=options)

    # What Typer reads of a command.
    vars(with_options)["__signature__"] = inspect.Signature(parameters)
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def log_everything() -> None:
    """Show Humwatch's own log on standard error, down to single units of work."""
    log = logging.getLogger("humwatch")
    handler: logging.Handler
    if ERRORS.is_terminal:
        handler = RichHandler(console=ERRORS, show_path=False, log_time_format="%H:%M:%S")
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers = [handler]
    log.setLevel(logging.DEBUG)
    log.propagate = False  # Prefect's handler of the root would say it again


def absolute(uri: str) -> str:
    """Return a URI as it is, a path made absolute."""
    return uri if "://" in uri else str(Path(uri).expanduser().absolute())


def absolute_all(uris: Sequence[str] | None) -> list[str]:
    """Return URIs as they are, paths made absolute; none where none are given."""
    return [absolute(uri) for uri in uris or ()]


def _without_empty(given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {section: {key: value for key, value in keys.items() if value} for section, keys in given.items()}


def login_name() -> str | None:
    """Return the name of the user whose process this is, None where the system has none for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container run under a number
        return None
