"""Maps of what drove the scores of some recordings of a lake.

For the few recordings that a page shows: each costs a few hundred images through the backbones of its model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from humwatch.storage.arrays import read_n_frames, read_rows
from humwatch.storage.errors import ModelIncompatible, SourceNotFound
from humwatch.storage.parts import Part
from humwatch.storage.tables import MACHINE
from humwatch.tasks.detectors.fit import load_model
from humwatch.tasks.detectors.machine_model import MachineModel
from humwatch.tasks.explanation.reference import Decibels, Reference
from humwatch.tasks.explanation.relevance import relevance_map
from humwatch.tasks.features.feature_blocks import embedder
from humwatch.tasks.plan.catalog import machine_of
from humwatch.tasks.plan.keys import EmbeddingSettings
from humwatch.tasks.plan.representations import Representation, parse
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.variants import Variant
from humwatch.tasks.spectrograms.spectrogram_blocks import ARRAY

REFERENCE_RECORDINGS = 16

_MODEL = ["backbone", "detector", "seed", *MACHINE, "model_version"]


@dataclass(frozen=True)
class Explanation:
    """What drove a recording's score.

    Attributes:
        recording_id: Which recording.
        relevance: float32 (mel, frame) from 0 to 1 over its own frames, higher = drove the score more; None without.
        reason: Why there is none; None where there is one.
    """

    recording_id: str
    relevance: NDArray[np.float32] | None
    reason: str | None = None


def explain_recordings(chosen: pd.DataFrame, run: Run) -> Iterator[Explanation]:
    """Yield an explanation for each of `chosen`, in that order: see `humwatch.tasks.explanation.relevance`.

    Of several channels that are heard the first is explained, by the first of normal recordings.

    Normal is what `REFERENCE_RECORDINGS` of the recordings named in the model's passport sound like, drawn with the
    model's seed from those the lake still holds; the first few of them lend their sound.

    Args:
        chosen: Rows of the scores table.
        run: The lake, and the settings the scores were made with.
    """
    known: dict[tuple[Any, ...], tuple[MachineModel, Reference]] = {}
    for row in chosen.to_dict("records"):
        named = tuple(None if pd.isna(row[column]) else row[column] for column in _MODEL)
        try:
            logmel = _spectrogram(_places(run, [row["recording_id"]], [row["batch"]]), row["recording_id"], run)
            if named not in known:
                known[named] = _learned(named, run)
        except (SourceNotFound, ModelIncompatible) as error:
            yield Explanation(row["recording_id"], None, str(error))
            continue
        yield _explanation(row["recording_id"], logmel, *known[named], parse(row["backbone"]), run.embedding)


def _places(run: Run, recording_ids: Sequence[str], batches: Iterable[str]) -> dict[str, tuple[Part, int]]:
    """Return part and row of those of some recordings that are in these batches and can be scored."""
    history = run.history_of(frozenset(batches))
    rows = history.eligible.loc[
        history.eligible["recording_id"].isin(recording_ids), ["recording_id", "part_id", "row"]
    ]
    return {name: (history.parts[part_id], row) for name, part_id, row in rows.itertuples(index=False, name=None)}


def _learned(named: tuple[Any, ...], run: Run) -> tuple[MachineModel, Reference]:
    """A model and its reference.

    Raises:
        SourceNotFound: The model, or all of its training recordings, are not in the lake any longer.
        ModelIncompatible: The model is one of another installation.
    """
    backbone, detector, seed, *machine, version = named
    key = run.model_key(Variant(backbone, detector, seed))
    model, stored = load_model(run.lake, key, machine_of(machine), version)
    training = stored.passport.training_recordings
    places = _places(run, training, stored.passport.calibration_batches)
    if len(places) < len(set(training)):  # an old passport, or recordings that are elsewhere now, or gone
        places = _places(run, training, run.history().nights["batch"])
    trained = [each for each in training if each in places]
    if not trained:
        raise SourceNotFound("none of the recordings its model was trained on is in the lake")
    drawn = np.random.default_rng(seed).permutation(len(trained))[:REFERENCE_RECORDINGS]
    normal = [_spectrogram(places, trained[index], run) for index in drawn]
    return model, Reference.of(normal, run.settings.images, run.settings.spectrogram)


def _spectrogram(places: Mapping[str, tuple[Part, int]], recording_id: str, run: Run) -> Decibels:
    if recording_id not in places:
        raise SourceNotFound("its spectrogram is not in the lake")
    part, row = places[recording_id]
    store = part.store("spectrograms", run.spectrogram_key)
    values: Decibels = read_rows(run.lake, store.complete_array(run.lake, ARRAY), range(row, row + 1))[0]
    return values[:, : read_n_frames(run.lake, store.zarr_path)[row]]


def _explanation(
    recording_id: str,
    logmel: Decibels,
    model: MachineModel,
    reference: Reference,
    representations: tuple[Representation, ...],
    embedding: EmbeddingSettings,
) -> Explanation:
    embed = embedder(representations, embedding)
    relevance = relevance_map(logmel, reference, model, representations, embed, embedding.images)
    if not relevance.any():
        return Explanation(recording_id, None, "no band of it raises the score of a normal recording")
    return Explanation(recording_id, relevance)
