"""All settings together, the presets, and where values come from.

Precedence, highest first: `--set` > flags > configuration file > environment (`HUMWATCH_FIT__SEEDS='[0,1]'`) > preset.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.plan.representations import parse
from humwatch.tasks.settings import AUTOENCODER_NAMES, Settings

PresetName = Literal["default", "paper", "fast"]

_LOGMEL = "logmel/64x1/mean,std/recording"
# The choice of benchmarks/search.py on normal training recordings (docs/accuracy.md).
_BACKBONE = "squeezenet1_1@features.10/8x1/mean,std/recording"
_NEIGHBOURS = {"detectors": ("knn",), "pca_components": 64, "knn_local": 4}

PRESETS: dict[PresetName, dict[str, Any]] = {
    "default": {"features": {"backbones": (f"{_LOGMEL}+{_BACKBONE}",)}, "fit": _NEIGHBOURS},
    # Müller et al. 2020 (arXiv 2006.03429v2), section 5 of its text; vary with --backbone and --detector.
    "paper": {
        "spectrogram": {"hop_samples": 256},
        "features": {"backbones": ("resnet34",)},
        "fit": {"detectors": ("gmm",), "split": "paper", "seeds": (0, 1, 2, 3, 4)},
    },
    # The default without its backbone: a quick look.
    "fast": {"features": {"backbones": (_LOGMEL,)}, "fit": _NEIGHBOURS},
}


def load(
    preset: PresetName = "default",
    config_file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> Settings:
    """Return the settings of a run.

    Args:
        preset: base values.
        config_file: TOML with one table a section.
        flags: nested values of command-line flags.
        assignments: `section.key=value`, the value as TOML or else as text.

    Raises:
        BadConfiguration: unknown preset, unreadable file, unknown section or key, or a value that does not fit.
    """
    if preset not in get_args(PresetName):
        raise BadConfiguration(f"unknown preset {preset!r}; there are {', '.join(get_args(PresetName))}")
    given = overrides(config_file, flags, assignments)

    class Layered(Settings, BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix="HUMWATCH_", env_nested_delimiter="__", frozen=True, extra="forbid"
        )

        @classmethod
        def settings_customise_sources(  # type: ignore[override]
            cls, settings_cls: type[BaseSettings], **_: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return _Layer(settings_cls, given), EnvSettingsSource(settings_cls), _Layer(settings_cls, PRESETS[preset])

    try:
        layered = Layered()
    except ValidationError as error:
        raise BadConfiguration("; ".join(map(_told, error.errors()))) from error
    except SettingsError as error:
        raise BadConfiguration(f"a variable HUMWATCH_... is not JSON: {error} ({error.__cause__})") from error
    settings = Settings(**{name: getattr(layered, name) for name in Settings.model_fields})
    _must_fit(settings)
    return settings


def _told(problem: ErrorDetails) -> str:
    """Return what is wrong with a value; of a list that is text, a shell has mostly taken the quotes."""
    said = f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    if problem["type"] != "tuple_type":
        return said
    return f'{said}, which {problem["input"]!r} is not: quote a list for the shell, --set \'section.key=["a", "b"]\''


def _must_fit(settings: Settings) -> None:
    """Every detector is crossed with every representation, and autoencoders see patches alone.

    Fusions and nights need scores of recordings that were held out.
    """
    if settings.fit.calibration_folds == 1:
        fused = [text for text in settings.features.backbones if len(parse(text)) > 1]
        if fused:
            raise BadConfiguration(
                f"fit.calibration_folds 1 holds nothing out, and {fused[0]} is fused on a scale of held-out scores"
            )
        if settings.fit.training == "assumed_normal":
            raise BadConfiguration("fit.calibration_folds 1 holds nothing out to judge nights by; set 2 or more")
    autoencoders = [name for name in settings.fit.detectors if name in AUTOENCODER_NAMES]
    patch = parse("logmel/64x64/mean/window")
    for text in settings.features.backbones:
        if parse(text) != patch and autoencoders:
            raise BadConfiguration(f"{', '.join(autoencoders)}: an autoencoder needs --backbone logmel/64x64/mean")


def overrides(
    config_file: Path | None, flags: Mapping[str, Mapping[str, Any]] | None, assignments: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return what a configuration file, flags and assignments set, by section, the later ones winning.

    Raises:
        BadConfiguration: an unreadable file, or an assignment that is none.
    """
    merged: dict[str, dict[str, Any]] = {}
    for layer in (_read(config_file) if config_file else {}, flags or {}, _assigned(assignments)):
        for section, values in layer.items():
            if not isinstance(values, Mapping):
                raise BadConfiguration(f"{section!r} is not a section: settings are section.key")
            merged[section] = {**merged.get(section, {}), **values}
    return merged


class _Layer(PydanticBaseSettingsSource):
    """A nested mapping as a source of settings."""

    def __init__(self, settings_cls: type[BaseSettings], values: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self._values = dict(values)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return self._values.get(field_name), field_name, True

    def __call__(self) -> dict[str, Any]:
        return self._values


def _assigned(assignments: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise BadConfiguration(f"--set {assignment!r} is not section.key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = None if text.strip().lower() in {"none", "null"} else text
        values.setdefault(section, {})[key] = value
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfiguration(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"the configuration file {path} is not TOML: {error}") from error
