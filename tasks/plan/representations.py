"""What a detector sees, as a line of text: `SOURCE[@LAYER][/FxT][/mean,std][/window|/recording]`.

SOURCE     a torchvision classification model, `efficientnet_lite0`, `logmel` or `fake`.
LAYER      a module or node of the model (torchvision's `get_graph_node_names`); a module stands for its output.
           The layer's map of a window is (channel, frequency, time): rows of the image are mel bands, lowest first,
           columns are frames. A layer that gives a vector is a map of one cell. `logmel` is the window itself, in dB,
           as a map of one channel.
FxT        the map is cut into F bins along frequency and T along time (adaptive pooling: bins overlap by a row or
           column where F or T does not divide the map); 1x1 is global pooling.
mean,std   statistics over all cells of a bin: the mean, or the mean and the population standard deviation.
window     one vector a window: the cells of that window.
recording  one vector a recording: the cells of all its windows together, so a vector layer's std is the std over
           windows. `logmel/.../recording` is over the recording's own frames, cut into T along the whole recording.

A vector is ordered (statistic, channel, frequency bin, time bin), so its length is statistics x channels x F x T.
Several representations joined by `+` are fused: one score from all of them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from humwatch.storage.errors import BadConfiguration
from humwatch.tasks.weights.sources import FAKE, LOGMEL, OWN_SOURCES, known_sources

Level = Literal["window", "recording"]
Statistics = tuple[Literal["mean"]] | tuple[Literal["mean"], Literal["std"]]

# Known without a look into torchvision, which takes seconds to import.
_COMMON = frozenset(
    {"resnet18", "resnet34", "resnet50", "alexnet", "squeezenet1_1", "densenet121", "mobilenet_v2", "efficientnet_b0"}
)

_GRAMMAR = re.compile(
    r"(?P<source>\w+)(?:@(?P<layer>\w+(?:\.\w+)*))?(?:/(?P<frequency>\d+)x(?P<time>\d+))?"
    r"(?:/(?P<statistics>mean|mean,std))?(?:/(?P<level>window|recording))?",
    re.ASCII,
)
# What Müller et al. 2020 take from a family, else its last map before the classifier; first prefix that fits.
_DEFAULT_LAYERS: tuple[tuple[str, str, tuple[int, int]], ...] = (
    ("squeezenet", "features", (2, 2)),
    ("alexnet", "classifier.5", (1, 1)),
    ("vgg", "classifier.4", (1, 1)),
    ("resnet", "layer4", (1, 1)),
    ("resnext", "layer4", (1, 1)),
    ("wide_resnet", "layer4", (1, 1)),
    ("densenet", "relu", (1, 1)),
    ("mobilenet", "features", (1, 1)),
    ("efficientnet", "features", (1, 1)),
    ("convnext", "features", (1, 1)),
    ("mnasnet", "layers", (1, 1)),
    ("shufflenet", "conv5", (1, 1)),
    ("regnet", "trunk_output", (1, 1)),
    ("googlenet", "inception5b", (1, 1)),
    ("inception", "Mixed_7c", (1, 1)),
    ("swin", "permute", (1, 1)),
    ("maxvit", "blocks", (1, 1)),
    (FAKE, "features", (1, 1)),
)


@dataclass(frozen=True)
class Representation:
    """One representation, with every default filled in; its text is `str(representation)`."""

    source: str
    layer: str
    frequency_bins: int
    time_bins: int
    statistics: Statistics
    level: Level

    def __str__(self) -> str:
        layer = f"@{self.layer}" if self.layer else ""
        bins = f"{self.frequency_bins}x{self.time_bins}"
        return f"{self.source}{layer}/{bins}/{','.join(self.statistics)}/{self.level}"


def parse(text: str) -> tuple[Representation, ...]:
    """Read one entry of `features.backbones`: one representation, or several fused ones in the order written.

    Raises:
        BadConfiguration: the text is not of the grammar above, names no known source, a source without a default
            layer and no layer, or the same representation twice.
    """
    representations = tuple(_parse_one(part.strip()) for part in text.split("+"))
    if len(set(representations)) != len(representations):
        raise BadConfiguration(f"{text!r} fuses a representation with itself")
    return representations


def parse_all(backbones: Iterable[str]) -> list[Representation]:
    """Return the representations of all entries of `features.backbones`, each once, sorted by their text.

    Raises:
        BadConfiguration: see `parse`.
    """
    return sorted({representation for text in backbones for representation in parse(text)}, key=str)


def _parse_one(text: str) -> Representation:
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise BadConfiguration(
            f"{text!r} is no representation: write SOURCE[@LAYER][/FxT][/mean or /mean,std][/window or /recording], "
            "such as resnet34, logmel/64x1/mean,std or resnet18@layer3/2x2/mean/recording; join several by +"
        )
    source = match["source"]
    if source not in _COMMON.union(OWN_SOURCES) and source not in (known := known_sources()):
        close = difflib.get_close_matches(source, known, n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise BadConfiguration(f"{source!r} is no known source; {hint}known: {', '.join(known)}")
    layer, (frequency_bins, time_bins) = _layer(source, match["layer"])
    if match["frequency"] is not None:
        frequency_bins, time_bins = int(match["frequency"]), int(match["time"])
    if not frequency_bins or not time_bins:
        raise BadConfiguration(f"{text!r}: FxT are numbers of bins, at least 1x1")
    both = source == LOGMEL if match["statistics"] is None else match["statistics"] == "mean,std"
    statistics: Statistics = ("mean", "std") if both else ("mean",)
    level: Level = "recording" if match["level"] == "recording" else "window"
    return Representation(source, layer, frequency_bins, time_bins, statistics, level)


def _layer(source: str, layer: str | None) -> tuple[str, tuple[int, int]]:
    """Return the layer and how it is pooled when the text does not say: a layer named by hand is pooled to 1x1."""
    if source == LOGMEL:
        if layer is not None:
            raise BadConfiguration(f"logmel has no layers; write it without @{layer}")
        return "", (64, 1)
    default = next(((name, bins) for prefix, name, bins in _DEFAULT_LAYERS if source.startswith(prefix)), None)
    if layer is None:
        if default is None:
            raise BadConfiguration(f"{source} has no default layer; name one: {source}@LAYER")
        return default
    return layer, default[1] if default and default[0] == layer else (1, 1)
