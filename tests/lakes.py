"""Small lakes made by the stages themselves, in this process: no Prefect run, no Dask."""

from dataclasses import replace

import pandas as pd

from humwatch.storage.tables import SCORES, read_tables
from humwatch.tasks.detectors.task import fit_models
from humwatch.tasks.features.task import compute_features
from humwatch.tasks.ingest.task import ingest_sources
from humwatch.tasks.plan.run import Run
from humwatch.tasks.scoring.task import score_recordings
from humwatch.tasks.settings import Settings
from humwatch.tasks.spectrograms.task import compute_spectrograms

# A recording of 2 s is 63 frames: 2 windows of 32, 16 frames apart; one of 3 s is 94 frames, 4 windows.
SMALL = {
    "images": {"window_frames": 32, "window_hop_frames": 16, "image_size_px": 32},
    "features": {"backbones": ("fake",), "device": "cpu", "batch_size": 8},
    "fit": {"gmm_components": 2, "calibration_folds": 3},
    "evaluation": {"bootstrap_samples": 100},
    "store": {"block_recordings": 4, "chunk_recordings": 2},
}


def small(**sections) -> Settings:
    """Settings for small lakes; keys given for a section are put over those above."""
    names = {*SMALL, *sections}
    return Settings.model_validate({name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in names})


def with_settings(work: Run, **sections) -> Run:
    """The same lake under other settings."""
    return replace(work, settings=small(**sections))


def build(work: Run, *sources) -> tuple[int, int, int, int]:
    """Run the stages up to the scores; return how much each had to do: decoded, embedded, fitted, scored."""
    work.refresh()  # a test may have changed the lake since
    if sources:
        assert ingest_sources.fn(work, [str(source) for source in sources]).errors == ()
    spectrograms = compute_spectrograms.fn(work)
    assert spectrograms.errors == ()
    return (
        spectrograms.recordings_decoded,
        compute_features.fn(work).windows_embedded,
        fit_models.fn(work).models_fitted,
        score_recordings.fn(work).recordings_scored,
    )


def all_scores(work: Run) -> pd.DataFrame:
    """Every score of the lake, old ones too."""
    lake = work.lake
    return read_tables(lake, lake.list("scores", ".parquet"), SCORES).to_pandas()
