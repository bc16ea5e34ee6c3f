"""Every key of a lake: a name made of exactly the settings that shape the values below it.

All are pure functions of settings; the digests of weights are handed in. `tests/flows/test_preset_keys.py` pins those
of the presets: a change of a key makes every lake compute anew what it names.
"""

from __future__ import annotations

from humwatch.storage.naming import settings_key
from humwatch.tasks.plan.representations import Representation, parse
from humwatch.tasks.plan.variants import Variant
from humwatch.tasks.settings import (
    AUTOENCODER_NAMES,
    AlarmSettings,
    FeatureSettings,
    FitSettings,
    ImageSettings,
    Section,
    SpectrogramSettings,
)

# Fields that only one family of detectors reads: a change of them must not refit the others.
_FIELDS_OF = {
    "gmm": "gmm_",
    "bayesian_gmm": "gmm_",
    "ocsvm": "ocsvm_",
    "isolation_forest": "isolation_forest_",
    "kde": "kde_",
    "knn": "knn_",
    **dict.fromkeys(AUTOENCODER_NAMES, "autoencoder_"),
}
_NOT_SHAPING_A_MODEL = {"detectors", "seeds", "autoencoder_device"}


class EmbeddingSettings(Section):
    """Everything that shapes a feature; `weights` are (source, first digits of the sha256) of the backbones."""

    spectrogram: SpectrogramSettings
    images: ImageSettings
    features: FeatureSettings
    weights: tuple[tuple[str, str], ...]

    def key(self, representation: Representation) -> str:
        """Return the key of a representation's features; device and batch size change no value."""
        shaping: dict[str, object] = {
            "spectrogram": spectrogram_key(self.spectrogram),
            "representation": str(representation),
            "images": self.images.model_dump(mode="json"),
            "precision": self.features.precision,
            "random_weights": self.features.random_weights,
            "weights": dict(self.weights).get(representation.source),
        }
        if self.features.fully_convolutional:
            shaping["fully_convolutional"] = True
        return settings_key((representation.source, representation.layer), shaping)


def spectrogram_key(spectrogram: SpectrogramSettings) -> str:
    """Return the key of spectrograms and health: `logmel-64-1024-512-3f9ac1`."""
    words = ("logmel", spectrogram.n_mels, spectrogram.n_fft, spectrogram.hop_samples)
    return settings_key(words, spectrogram.model_dump(mode="json"))


def model_key(variant: Variant, embedding: EmbeddingSettings, fit: FitSettings) -> str:
    """Return the key of a variant's models and scores."""
    others = {prefix for prefix in _FIELDS_OF.values() if prefix != _FIELDS_OF.get(variant.detector)}
    shaping = {
        name: value
        for name, value in fit.model_dump(mode="json").items()
        if name not in _NOT_SHAPING_A_MODEL and not name.startswith(tuple(others))
    }
    features = [embedding.key(representation) for representation in parse(variant.backbone)]
    settings = {"fit": shaping, "features": features, "detector": variant.detector, "seed": variant.seed}
    return settings_key(_words(variant), settings)


def nights_key(variant: Variant, embedding: EmbeddingSettings, fit: FitSettings, alarms: AlarmSettings) -> str:
    """Return the key of a variant's judged nights: its models and the settings of alarms."""
    # what was added since keys were pinned shapes nothing while it is not set
    unset = {name for name in ("false_alarms_per_year", "machines") if not getattr(alarms, name)}
    shaping = {"models": model_key(variant, embedding, fit), "alarms": alarms.model_dump(mode="json", exclude=unset)}
    return settings_key(_words(variant), shaping)


def _words(variant: Variant) -> tuple[str, ...]:
    return variant.detector, variant.backbone, f"s{variant.seed}"
