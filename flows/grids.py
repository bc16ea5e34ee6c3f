"""Published grids over a lake: one run of the pipeline for each part of the grid, then one table of all of them.

A part that cannot run here (no weights for its backbone) is a row with its reason. Everything a part computes stays in
the lake, so a second benchmark does only what is missing, and parts share spectrograms and features.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from humwatch.flows.cluster import shared_workers
from humwatch.flows.pipeline import pipeline
from humwatch.flows.presets import PresetName, load
from humwatch.flows.stages import STAGES
from humwatch.flows.summary import RunSummary
from humwatch.storage.errors import BadConfiguration, WeightsNotFound
from humwatch.tasks.evaluation.benchmark_table import Column
from humwatch.tasks.evaluation.store import compare, read_evaluated
from humwatch.tasks.plan.run import Run
from humwatch.tasks.reports.evaluation.benchmark_page import publish_benchmark
from humwatch.tasks.settings import AUTOENCODER_NAMES

BenchmarkName = Literal["mimii", "dcase"]

BACKBONES = ("resnet18", "resnet34", "alexnet", "squeezenet1_1")
DETECTORS = ("gmm", "bayesian_gmm", "isolation_forest", "kde", "ocsvm")
PATCHES = "logmel/64x64/mean"
LOGMEL = "logmel/64x1/mean,std/recording"
LEFT_OUT = "left out"


@dataclass(frozen=True)
class GridPart:
    """Models that run together: a preset and what is changed in it."""

    preset: PresetName
    backbones: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    fit: Mapping[str, Any] = field(default_factory=dict)

    def without(self, skip: Collection[str]) -> GridPart | None:
        """The part without some backbones and detectors; None when nothing is left of it."""
        backbones = tuple(name for name in self.backbones if name not in skip)
        detectors = tuple(name for name in self.detectors if name not in skip)
        if (self.backbones and not backbones) or (self.detectors and not detectors):
            return None
        return replace(self, backbones=backbones, detectors=detectors)

    def flags(self) -> dict[str, dict[str, Any]]:
        """What it sets above its preset."""
        features = {"backbones": self.backbones} if self.backbones else {}
        return {"features": features, "fit": {**({"detectors": self.detectors} if self.detectors else {}), **self.fit}}


# No threshold: it needs a training a fold, and the grid is about AUCs.
_AUTOENCODERS = GridPart("paper", (PATCHES,), AUTOENCODER_NAMES, {"calibration_folds": 1})
GRIDS: dict[BenchmarkName, tuple[GridPart, ...]] = {
    # Müller et al. 2020, Table 1, and ours under the same splits.
    "mimii": (
        GridPart("default", fit={"split": "paper", "seeds": (0, 1, 2, 3, 4)}),
        *(GridPart("paper", (backbone,), DETECTORS) for backbone in BACKBONES),
        _AUTOENCODERS,
    ),
    # The split is the challenge's own: seeds would only vary the detectors.
    "dcase": (
        GridPart("default"),
        *(GridPart("paper", (backbone,), ("gmm",), {"seeds": (0,)}) for backbone in BACKBONES),
        GridPart("paper", (LOGMEL,), ("mahalanobis",), {"seeds": (0,)}),
        replace(_AUTOENCODERS, fit={**_AUTOENCODERS.fit, "seeds": (0,)}),
    ),
}


def _grid(name: BenchmarkName, added: Collection[str]) -> tuple[GridPart, ...]:
    """Return the parts of a grid, with the paper's chain on the added backbones, too."""
    chain = next(part for part in GRIDS[name] if part.backbones == BACKBONES[:1])
    new = (backbone for backbone in dict.fromkeys(added) if backbone not in BACKBONES)
    return (*GRIDS[name], *(replace(chain, backbones=(backbone,)) for backbone in new))


@dataclass
class BenchmarkSummary:
    """What a benchmark did: `parts` are the summaries of its runs, `absent` what could not run, with its reason."""

    lake: str
    parts: list[RunSummary] = field(default_factory=list)
    absent: list[dict[str, str]] = field(default_factory=list)
    report: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values, errors of all parts in one list."""
        errors = {problem.message: asdict(problem) for part in self.parts for problem in part.errors}
        parts = [{key: value for key, value in part.as_json().items() if key != "errors"} for part in self.parts]
        return {"parts": parts, "absent": self.absent, "report": self.report, "errors": list(errors.values())}


def benchmark(
    name: BenchmarkName,
    lake: str,
    sources: Sequence[str],
    config: Path | None,
    flags: Mapping[str, Mapping[str, Any]],
    assignments: Sequence[str],
    skip: Collection[str] = (),
    added: Collection[str] = (),
) -> BenchmarkSummary:
    """Run a grid and publish its tables.

    Args:
        name: Which grid.
        lake: Root URI of the lake.
        sources: Archives or folders.
        config: As for `settings.load`; what it, flags and assignments set holds in every part.
        flags: See config.
        assignments: See config.
        skip: Backbones and detectors of the grid to leave out; each is a row that says so.
        added: Backbones to put through the paper's chain beside the grid's own.

    Raises:
        BadConfiguration: Settings that no part can run with, or nothing of the grid is named so or left.
        RunFailed: A stage of a part cannot be carried out; what was done before is kept.
        WeightsNotFound: No part has weights.
    """
    whole = _grid(name, added)
    summary, columns = BenchmarkSummary(lake), _skipped(name, whole, skip)
    parts = [left for part in whole if (left := part.without(skip))]
    if not parts:
        raise BadConfiguration(f"nothing of the benchmark {name} is left to run")
    planned: list[tuple[Column, Run]] = []
    for part in parts:  # all of them before the first is run: what is wrong should not be found hours later
        given = part.flags()
        merged = {section: {**given.get(section, {}), **flags.get(section, {})} for section in {*given, *flags}}
        run = Run(lake, load(part.preset, config, merged, assignments))
        features, fit = run.settings.features, run.settings.fit
        column = Column(part.preset, features.backbones, fit.detectors)
        try:
            run.require_weights()  # before a flow run is begun, which would be a failed one
        except WeightsNotFound as error:
            absent = replace(column, reason=str(error))
            columns.append(absent)
            summary.absent.append({"backbone": "+".join(features.backbones), "reason": str(error)})
            continue
        planned.append((column, run))
    if not planned:
        raise WeightsNotFound("; ".join(absent["reason"] for absent in summary.absent))
    with shared_workers():
        for column, run in planned:
            ran = pipeline(run, sources, STAGES[:-1], f"benchmark {name}")
            summary.parts.append(ran)
            columns.append(replace(column, auc=read_evaluated(run.lake, str(ran.evaluation_id), "auc")))
            run.refresh()  # what was read of the lake need not stay for hours
    runs = [run for _, run in planned]
    ids = [str(part.evaluation_id) for part in summary.parts]
    counts = {count: getattr(summary.parts[0], count) for count in ("listed", "accepted", "rejected", "degraded")}
    summary.report = publish_benchmark(runs[0].lake, name, columns, ids, counts, lambda: compare(runs))
    return summary


def _skipped(name: BenchmarkName, parts: Sequence[GridPart], skip: Collection[str]) -> list[Column]:
    """The models of a grid that are left out.

    Raises:
        BadConfiguration: A name that is not in the grid.
    """
    named = {each for part in parts for each in (*part.backbones, *part.detectors)}
    if unknown := sorted(set(skip) - named):
        raise BadConfiguration(
            f"{', '.join(unknown)}: not in the benchmark {name}, which has {', '.join(sorted(named))}"
        )
    columns = []
    for part in parts:
        for backbone in part.backbones:
            out = tuple(each for each in part.detectors if each in skip or backbone in skip)
            if out:
                columns.append(Column(part.preset, (backbone,), out, reason=LEFT_OUT))
    return columns
