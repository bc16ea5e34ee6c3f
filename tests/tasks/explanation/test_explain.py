"""Explanations of a lake's recordings, from what the stages kept."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from lakes import all_scores, build, small
from recordings import machine, write_zip

from humwatch.storage.models import Machine
from humwatch.tasks.explanation.explain import explain_recordings
from humwatch.tasks.plan.keys import model_key
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.variants import Variant

BACKBONE = "fake+logmel"


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A lake with a fan and a pump whose abnormal recordings whine at 2640 Hz, in mel band 41 of 64."""
    members = machine("fan/id_00", 12, 3, duration_s=2.0) | machine("pump/id_00", 12, 3, duration_s=2.0)
    archive = write_zip(tmp_path_factory.mktemp("source") / "plant.zip", members)
    settings = small(features={"backbones": (BACKBONE,)}, fit={"detectors": ("mahalanobis",)})
    work = Run(str(tmp_path_factory.mktemp("lake")), settings)
    build(work, archive)
    return work


def test_the_whine_is_what_drove_the_scores(scored):
    chosen = all_scores(scored).query("label == 'abnormal'").sort_values("file")
    explanations = list(explain_recordings(chosen, scored))
    assert [each.recording_id for each in explanations] == list(chosen["recording_id"])
    for each in explanations:
        assert each.reason is None
        assert each.relevance.shape == (64, 63)
        assert 37 <= each.relevance.sum(axis=1).argmax() <= 45
    # Whatever of the lake has been read.
    again = list(explain_recordings(chosen.iloc[::-1], replace(scored)))
    np.testing.assert_array_equal(again[-1].relevance, explanations[0].relevance)


def test_what_cannot_be_explained_has_a_reason(scored, tmp_path):
    work = replace(scored, lake_uri=str(shutil.copytree(scored.lake_uri, tmp_path / "lake")))
    chosen = all_scores(work).query("label == 'abnormal'").groupby("machine_type").head(1)
    lake = work.lake
    rows = work.history().rows
    rows.loc[rows["label"].eq("normal") & rows["machine_type"].eq("fan"), "status"] = "rejected"
    key = model_key(Variant(BACKBONE, "mahalanobis", 0), work.embedding, work.settings.fit)
    lake.delete(f"models/{key}/{Machine('pump', 'id_00').path}")
    unknown = chosen.iloc[:1].assign(recording_id="gone")
    for rows, reason in (
        (chosen[chosen["machine_type"] == "fan"], "none of the recordings its model was trained on"),
        (chosen[chosen["machine_type"] == "pump"], "passport.json"),
        (unknown, "its spectrogram is not in the lake"),
    ):
        (found,) = explain_recordings(rows, work)
        assert found.relevance is None
        assert reason in found.reason
