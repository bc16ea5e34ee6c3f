"""A machine's model as bytes and back, through skops: no pickle, and no type in the file that is not listed here.

The same model is the same bytes: what skops names after addresses in memory is renamed (see `_canonical`).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from humwatch.storage.errors import ModelIncompatible
from humwatch.tasks.detectors.machine_model import MachineModel

FORMAT = 1

TRUSTED: tuple[str, ...] = (
    "builtins.dict",
    "builtins.list",
    "builtins.str",
    "builtins.tuple",
    "numpy.float64",
    "numpy.ndarray",
    "sklearn.decomposition._pca.PCA",
    "sklearn.mixture._bayesian_mixture.BayesianGaussianMixture",
    "sklearn.mixture._gaussian_mixture.GaussianMixture",
    "sklearn.neighbors._unsupervised.NearestNeighbors",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.svm._classes.OneClassSVM",
)
"""Every type a stored model may hold, dotted; skops of itself would trust all of scikit-learn."""


def dumps(model: MachineModel) -> bytes:
    """The model as a skops file (a zip archive with a JSON schema and npy arrays)."""
    from humwatch.tasks.detectors import skops_io  # noqa: PLC0415 - it takes half a second, which only these functions should pay

    return _canonical(skops_io.dumps({"format": FORMAT, "model": model.state()}))


def loads(data: bytes) -> MachineModel:
    """The model of `dumps`; its scores are the same to the last bit.

    Raises:
        ModelIncompatible: The bytes are not such a file, are of another format, or hold a type that is not in `TRUSTED`
            (the message names it).
    """
    try:
        return _read(data)
    except ModelIncompatible:
        raise
    except Exception as error:  # whatever a damaged or forged file can cause in zip, JSON, NumPy, skops
        raise ModelIncompatible(f"not a stored model: {type(error).__name__}: {error}") from error


def _read(data: bytes) -> MachineModel:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read("schema.json"))
    unknown = sorted(set(_types(schema)) - set(TRUSTED))
    if unknown:
        raise ModelIncompatible(f"the stored model holds types that are not allowed: {', '.join(unknown)}")
    from humwatch.tasks.detectors import skops_io  # noqa: PLC0415 - as above

    stored = skops_io.loads(data, trusted=list(TRUSTED))
    if stored["format"] != FORMAT:
        raise ModelIncompatible(f"the stored model has format {stored['format']}; this version reads {FORMAT}")
    return MachineModel.from_state(stored["model"])


def _types(node: Any) -> Iterator[str]:
    """Every type, function or method a skops schema names, dotted."""
    if isinstance(node, dict):
        if "__class__" in node:
            yield f"{node.get('__module__')}.{node['__class__']}"
        for child in node.values():
            yield from _types(child)
    elif isinstance(node, list):
        for child in node:
            yield from _types(child)


def _canonical(data: bytes) -> bytes:
    """The same skops file without what differs from run to run: addresses in memory and times."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(contents.pop("schema.json"))
    names = {name: sha256(content).hexdigest()[:32] + ".npy" for name, content in contents.items()}
    arrays = {names[name]: content for name, content in contents.items()}
    text = json.dumps(_without_addresses(schema, names), separators=(",", ":"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in [*sorted(arrays.items()), ("schema.json", text.encode())]:
            # ZipInfo's own date is 1980-01-01
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _without_addresses(node: Any, names: dict[str, str]) -> Any:
    """A schema without `__id__`, which only tells skops what is one object in memory, and with the new file names."""
    if isinstance(node, dict):
        kept = {key: _without_addresses(child, names) for key, child in node.items() if key != "__id__"}
        return kept | {"file": names[node["file"]]} if node.get("type") == "numpy" else kept
    if isinstance(node, list):
        return [_without_addresses(child, names) for child in node]
    return node
