"""Stored models: the same scores to the last bit, the same bytes, and nothing else gets in."""

import io
import json
import pickle
import subprocess
import sys
import zipfile
from hashlib import sha256

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from humwatch.storage.errors import ModelIncompatible
from humwatch.tasks.detectors.machine_model import fit_machine_model
from humwatch.tasks.detectors.serialization import FORMAT, dumps, loads
from humwatch.tasks.settings import DETECTOR_NAMES, FitSettings

SETTINGS = FitSettings(gmm_components=4, isolation_forest_trees=16, knn_neighbours=2)
VARIANTS = [
    {},
    {"pca_components": 3},
    {"gmm_covariance": "full", "knn_metric": "cosine", "fusion": "rank", "pooling": "top_k"},
]


def sound(count=12, windows=3, features=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, windows, features)).astype(np.float32)


def fitted(name, windows, settings=SETTINGS):
    return fit_machine_model(name, windows, settings, 0, np.arange(len(windows[0])) % 3).model


@pytest.mark.parametrize("variant", VARIANTS, ids=["default", "pca", "other"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_round_trip(name, fused, variant):
    windows = [sound(), sound(windows=1, seed=1)] if fused else [sound()]
    model = fitted(name, windows, SETTINGS.model_copy(update=variant))
    stored = dumps(model)
    again = loads(stored)
    for before, after in zip(model.scores(windows), again.scores(windows), strict=True):
        np.testing.assert_array_equal(after, before)
    assert again.members[0][0].notes == model.members[0][0].notes
    assert dumps(again) == stored


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_round_trip_of_a_model_of_one_flat_recording(name):
    windows = [np.ones((1, 1, 3), dtype=np.float32)]
    model = fitted(name, windows, FitSettings(pca_components=2))
    np.testing.assert_array_equal(loads(dumps(model)).recording_scores(windows), model.recording_scores(windows))


SCRIPT = """
import numpy as np
from hashlib import sha256
from humwatch.tasks.detectors.machine_model import fit_machine_model
from humwatch.tasks.detectors.serialization import dumps
from humwatch.tasks.settings import DETECTOR_NAMES, FitSettings
windows = [np.random.default_rng(0).normal(size=(12, 3, 5)).astype(np.float32)]
settings = FitSettings(gmm_components=4, isolation_forest_trees=16, knn_neighbours=2)
for name in DETECTOR_NAMES:
    print(sha256(dumps(fit_machine_model(name, windows, settings, 0, np.arange(12) % 3).model)).hexdigest())
"""


@pytest.mark.slow
def test_the_same_model_is_the_same_bytes_in_another_process():
    printed = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True).stdout
    assert printed.split() == [sha256(dumps(fitted(name, [sound()]))).hexdigest() for name in DETECTOR_NAMES]


@pytest.mark.slow
def test_a_process_that_keeps_models_imports_neither_torch_nor_all_of_scikit_learn():
    script = (
        "import sys, numpy as np; from humwatch.tasks.detectors.machine_model import fit_machine_model; "
        "from humwatch.tasks.detectors.serialization import dumps, loads; "
        "from humwatch.tasks.settings import FitSettings; "
        "windows = [np.eye(4, dtype=np.float32)[:, None]]; "
        "loads(dumps(fit_machine_model('knn', windows, FitSettings(), 0, np.arange(4)).model)); print(*sys.modules); "
        "import torch"  # which looks at every module there is
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "skops.io" in ran.stdout.split()
    assert not {"torch", "sklearn.cross_decomposition"} & set(ran.stdout.split())


def test_the_file_holds_no_pickle():
    with zipfile.ZipFile(io.BytesIO(dumps(fitted("isolation_forest", [sound()])))) as archive:
        for name in archive.namelist():
            if name == "schema.json":
                json.loads(archive.read(name))
            else:
                np.load(io.BytesIO(archive.read(name)), allow_pickle=False)


def shout():
    raise AssertionError("a function of the file was called")


@pytest.mark.parametrize(
    ("intruder", "named"),
    [
        (shout, "shout"),
        (FunctionTransformer(shout), "FunctionTransformer"),
        (LogisticRegression(), "LogisticRegression"),  # harmless, trusted by skops, but not ours
        (np.exp, "exp"),  # likewise
        (np.random.default_rng(0), "Generator"),
    ],
    ids=["function", "transformer", "estimator", "ufunc", "generator"],
)
def test_other_types_are_refused_by_name(intruder, named):
    state = fitted("gmm", [sound()]).state()
    state["members"][0][0]["estimator"] = intruder
    data = skops.io.dumps({"format": FORMAT, "model": state})
    with pytest.raises(ModelIncompatible, match=named):
        loads(data)


def with_schema(data, change):
    """The same file with its schema changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(contents["schema.json"])
    change(schema)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, json.dumps(schema) if name == "schema.json" else content)
    return buffer.getvalue()


def test_a_forged_schema_runs_nothing(tmp_path):
    proof = tmp_path / "ran"

    def forge(schema):
        schema["content"]["format"] = {
            "__class__": "system",
            "__module__": "os",
            "__loader__": "ReduceNode",
            "content": f"touch {proof}",
        }

    with pytest.raises(ModelIncompatible, match=r"os\.system"):
        loads(with_schema(dumps(fitted("gmm", [sound()])), forge))
    assert not proof.exists()


def test_another_format_is_refused():
    data = skops.io.dumps({"format": FORMAT + 1, "model": fitted("knn", [sound()]).state()})
    with pytest.raises(ModelIncompatible, match=f"format {FORMAT + 1}"):
        loads(data)


@pytest.mark.parametrize("lost", ["pooling", "references"])
def test_a_missing_field_is_named(lost):
    state = fitted("knn", [sound()]).state()
    del state[lost]
    with pytest.raises(ModelIncompatible, match=lost):
        loads(skops.io.dumps({"format": FORMAT, "model": state}))


def test_damaged_bytes_are_refused():
    data = dumps(fitted("gmm", [sound()]))
    middle = len(data) // 2
    for damaged in (b"", b"not a zip archive", data[:middle], data[:middle] + b"\0" * 40 + data[middle + 40 :]):
        with pytest.raises(ModelIncompatible, match="not a stored model"):
            loads(damaged)
    with pytest.raises(ModelIncompatible, match="not a stored model"):
        loads(pickle.dumps({"format": FORMAT}))


def test_the_error_survives_pickling():
    with pytest.raises(ModelIncompatible) as caught:
        loads(b"")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
