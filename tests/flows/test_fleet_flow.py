"""What the flows of a fleet show in Prefect: forms, names, words left behind, progress; and what nights share."""

from datetime import date

import distributed
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Crashed, Failed
from prefect.utilities.callables import parameter_schema
from recordings import machine, write_zip

from humwatch.flows.backfill import backfill
from humwatch.flows.fleet_flow import _problems, night_run_name, without_credentials
from humwatch.flows.nightly import nightly
from humwatch.flows.run_failed import RunFailed
from humwatch.flows.stage_progress import StageProgress
from humwatch.flows.summary import Problem, RunSummary
from humwatch.flows.train import evaluate, ingest, rollback, train
from humwatch.storage.errors import SourceForbidden

FLOWS = (ingest, train, nightly, backfill, evaluate, rollback)


@pytest.mark.parametrize("flow_", FLOWS, ids=lambda flow_: flow_.name)
def test_every_parameter_is_a_described_field_of_a_form(flow_):
    schema = parameter_schema(flow_)
    assert "lake" in schema.required
    for name, field in schema.properties.items():
        assert field.get("description"), name
        assert field["description"][0].isupper(), name
    assert schema.properties["preset"]["enum"] == ["default", "paper", "fast"]
    assert flow_.description
    assert "Args:" not in flow_.description


def test_dates_are_dates_and_unset_variables_are_refused():
    assert parameter_schema(backfill).properties["first"]["format"] == "date"
    assert parameter_schema(nightly).properties["night"]["anyOf"][0]["format"] == "date"
    assert parameter_schema(backfill).properties["at_once"]["minimum"] == 1
    assert parameter_schema(nightly).properties["lake"]["minLength"] == 1
    with pytest.raises(Exception, match="lake"):
        nightly.validate_parameters({"lake": ""})
    assert nightly.validate_parameters({"lake": "a", "night": "2026-01-02"})["night"].isoformat() == "2026-01-02"


def test_names_say_flow_night_and_fleet():
    assert night_run_name("nightly", "2026-01-02", "s3://bucket/plant") == "nightly 2026-01-02 plant"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("https://user:secret@host:8/lake?X-Amz-Signature=secret#secret", "https://host:8/lake"),
        ("s3://bucket/lake", "s3://bucket/lake"),
        ("/data/a@b?c/lake", "/data/a@b?c/lake"),
    ],
)
def test_no_credentials_are_told(uri, told):
    assert without_credentials(uri) == told


def test_problems_of_a_failure_are_told_but_not_the_text_of_errors_that_are_not_ours():
    problem = Problem("a.zip", "ingest", "source_forbidden", "no")
    failed = RunFailed(RunSummary("nightly", "lake", errors=[problem]))
    assert _problems(Failed(data=failed)) == [problem]
    assert _problems(Failed(data=SourceForbidden("no"))) == [Problem("", "", "source_forbidden", "no")]
    assert _problems(Failed(data=ValueError("secret"))) == [Problem("", "", "internal_error", "ValueError")]
    assert [problem.code for problem in _problems(Crashed(message="secret"))] == ["crashed"]


def test_progress_is_told_at_most_once_in_a_while_and_at_the_end():
    told = []

    @flow
    def long():
        for every_s, stage in ((0.0, "told"), (3600.0, "short")):
            progress = StageProgress(every_s)
            for done in range(1, 5):
                progress(stage, done, 4)
        with get_client(sync_client=True) as client:
            # Runs of other tests may share the server.
            told.extend(one for one in client.read_artifacts() if str(one.flow_run_id) == flow_run.id)

    long()
    (artifact,) = told
    assert (artifact.type, artifact.data, artifact.description) == ("progress", 100.0, "told: 4 of 4")


def test_nights_that_are_run_here_share_their_workers(tmp_path, monkeypatch):
    begun = []

    class InThreads(distributed.LocalCluster):  # processes would take seconds to begin
        def __init__(self, **options):
            begun.append(self)
            super().__init__(**{**options, "processes": False})

    monkeypatch.setattr(distributed, "LocalCluster", InThreads)
    for index, night in enumerate(("2026-01-01", "2026-01-02")):
        (tmp_path / night).mkdir()
        write_zip(tmp_path / night / "plant.zip", machine("fan/id_00", 4, 0, duration_s=2.5, night=index))
    settings = {
        "features": {"backbones": ["fake"]},
        "images": {"image_size_px": 32},
        "fit": {"detectors": ["knn"], "knn_neighbours": 1, "commissioning_nights": 1, "min_training_recordings": 2},
        "dask": {"workers": 1},
        "report": {"max_clips": 0},
    }
    first, last = date(2026, 1, 1), date(2026, 1, 2)
    summary = backfill(str(tmp_path / "lake"), first, last, sources=[str(tmp_path)], settings=settings)
    assert (summary.recordings_decoded, summary.recordings_scored) == (8, 8)
    assert len(begun) == 1
