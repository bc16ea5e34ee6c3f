"""Names of what a representation can be taken from: torchvision's classification models, and sources of our own."""

from __future__ import annotations

LOGMEL = "logmel"
"""The log-mel spectrogram itself."""
FAKE = "fake"
"""A small network with fixed weights, for tests and trials."""
LITE = "efficientnet_lite0"
OWN_SOURCES = (LITE, LOGMEL, FAKE)
WITHOUT_WEIGHTS = (LOGMEL, FAKE)


def known_sources() -> list[str]:
    """Return every source: torchvision's classification models, then our own."""
    # torch takes seconds to import, and stages that never embed read representations too.
    from humwatch.tasks.weights.vision import models  # noqa: PLC0415

    return [*models.list_models(module=models), *OWN_SOURCES]
