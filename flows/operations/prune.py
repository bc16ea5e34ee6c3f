"""`humwatch prune`: delete what no settings, no report and no model needs any more. Run it while no run is at work.

Recordings, labels, actions and reports are never deleted, only parts of which every recording has a newer row that is
decoded.
Of everything else is kept, whatever its age,

- what is under the keys of the settings given, with labels and with assumed normals, provisional models among it.
  Settings that have left nothing in a lake that is not empty are refused: they are not those of its runs;
- what the standing reports name: the newest, and those published within `--older-than` days;
- the models that were fitted or have scored within `--older-than` days, under whatever settings, and the spectrograms
  and features under them;
- of a kept key's models the current version, the one before it, the one the last gate judged, and each that a kept
  score table or a standing report names.

Marks and passports go first, so that a prune that is killed leaves nothing that looks whole.

JSON: `command`, `lake`, `dry_run` (boolean), `groups` (list of {"path": folder, "why", "objects", "bytes"}), `objects`
and `bytes` (their sums), `errors`. A dry run counts the same and deletes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from humwatch.storage.inventory import StoredObject, below, take_inventory
from humwatch.storage.lake import Lake
from humwatch.storage.parts import read_part
from humwatch.storage.records import Gate, Pointer, read_record
from humwatch.tasks.evaluation.store import read_evaluated
from humwatch.tasks.plan.retention import Needs
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scores import expected_scores
from humwatch.tasks.reports.assemble import files_of

_LEFTOVER_AGE = timedelta(days=1)


@dataclass(frozen=True)
class Removal:
    """An object or folder to delete, and why; `marks` say that it is whole and go first."""

    path: str
    why: str
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """What goes from one folder for one reason."""

    path: str
    why: str
    objects: int
    bytes: int


@dataclass(frozen=True)
class Pruning:
    """What can go, in the order in which it does, from a lake with these objects."""

    removals: list[Removal]
    objects: Sequence[StoredObject]

    def carry_out(self, lake: Lake) -> None:
        """Delete it."""
        for removal in self.removals:
            for path in (*removal.marks, removal.path):
                lake.delete(path)

    def groups(self) -> list[Group]:
        """Return objects and bytes by folder and reason."""
        grouped: dict[tuple[str, str], set[StoredObject]] = defaultdict(set)
        for removal in self.removals:
            group = "/".join(removal.path.split("/")[:2])
            for path in (*removal.marks, removal.path):
                grouped[group, removal.why].update(below(self.objects, path))
        return [
            Group(path, why, len(items), sum(item.size_bytes for item in items))
            for (path, why), items in grouped.items()
        ]


def plan_pruning(run: Run, older_than_days: int, now: datetime) -> Pruning:
    """Return what can go; reads only.

    Raises:
        BadConfiguration: the settings are not those of any run on this lake.
    """
    needs = Needs(run.lake, run.under_each_training(), take_inventory(run.lake), now - timedelta(days=older_than_days))
    removals = [
        *_superseded_keys(needs),
        *_superseded_histories(needs),
        *_superseded_parts(needs),
        *(scores := list(_superseded_scores(needs))),
        *_superseded_models(needs, {removal.path for removal in scores}),
        *_superseded_evaluations(needs),
        *_leftovers(needs.objects, now - _LEFTOVER_AGE),
    ]
    chosen: dict[str, Removal] = {}
    for removal in removals:
        above = {str(folder) for folder in PurePosixPath(removal.path).parents}
        existing = below(needs.objects, removal.path) or needs.paths.intersection(removal.marks)
        if existing and not above & chosen.keys():
            chosen.setdefault(removal.path, removal)
    return Pruning(list(chosen.values()), needs.objects)


def _superseded_keys(needs: Needs) -> Iterator[Removal]:
    for kind in ("nights", "scores", "models", "features", "spectrograms", "health"):
        for key in sorted(needs.existing_keys(kind) - needs.keys[kind]):
            objects = [item.path for item in below(needs.objects, f"{kind}/{key}")]
            yield Removal(f"{kind}/{key}", "key of no settings, report or model in use", _marks(kind, objects))


def _superseded_histories(needs: Needs) -> Iterator[Removal]:
    """What nights carry on under spectrogram keys that go, or are gone."""
    for name in sorted(needs.existing_keys("history")):
        if name.rpartition("-")[0] not in needs.keys["spectrograms"]:
            yield Removal(f"history/{name}", "key of no settings, report or model in use")


def _marks(kind: str, paths: Sequence[str]) -> tuple[str, ...]:
    if kind == "models":
        return tuple(path for path in paths if path.endswith(("/current.json", "/passport.json")))
    return tuple(path for path in paths if path.endswith(".json") and path.count("/") == 4)


def _superseded_parts(needs: Needs) -> Iterator[Removal]:
    """Parts without a current recording; not before the rows that count now are decoded or rejected."""
    lake, why = needs.lake, "part superseded by newer recordings"
    catalog = needs.runs[0].catalog()
    rows = catalog.recordings
    pending = set(rows["recording_id"][rows["status"] == "pending"])
    scores: dict[str, list[str]] = defaultdict(list)
    for item in below(needs.objects, "scores"):
        scores[PurePosixPath(item.path).name.partition("-")[0]].append(item.path)
    for part_id in sorted(catalog.parts.keys() - set(rows["part_id"])):
        part = catalog.parts[part_id]
        if pending & set(read_part(lake, part)["recording_id"].to_pylist()):
            continue
        for kind in ("spectrograms", "features"):
            for key in sorted(needs.existing_keys(kind) & needs.keys[kind]):
                store = part.store(kind, key)
                yield Removal(store.zarr_path, why, (store.mark_path,))
                yield Removal(f"{store.stem}.blocks", why)
        for key in sorted(needs.existing_keys("health") & needs.keys["health"]):
            yield Removal(part.health_path(key), why)
        for path in scores[part_id]:
            yield Removal(path, why)
        yield Removal(part.table_path, why)


def _superseded_scores(needs: Needs) -> Iterator[Removal]:
    """Score tables that the plan of the settings does not name, where it names another of the same part and key."""
    planned = {unit.path for run in needs.runs for unit in expected_scores(run)}
    standing = {path.rpartition("-")[0] for path in planned & needs.paths}
    for item in below(needs.objects, "scores"):
        if item.path not in planned and item.path.rpartition("-")[0] in standing:
            yield Removal(item.path, "scores superseded by those of newer models or labels")


def _superseded_models(needs: Needs, scores_that_go: set[str]) -> Iterator[Removal]:
    candidates: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for (key, machine), versions in needs.versions.items():
        folder = f"models/{key}/{machine}"
        # Without a pointer a fit may be about to write it.
        if key in needs.keys["models"] and len(versions) > 1 and f"{folder}/current.json" in needs.paths:
            pointer = read_record(needs.lake, f"{folder}/current.json", Pointer)
            named = {pointer.version, pointer.previous}
            if f"{folder}/gate.json" in needs.paths:
                named.add(read_record(needs.lake, f"{folder}/gate.json", Gate).version)
            candidates[key] |= {(machine, version) for version in versions - named} - needs.reported
    for key, models in candidates.items():
        tables = [item.path for item in below(needs.objects, f"scores/{key}") if item.path not in scores_that_go]
        for machine, version in sorted(models - needs.models_in(tables) if models else models):
            folder = f"models/{key}/{machine}/{version}"
            yield Removal(folder, "model version superseded", (f"{folder}/passport.json",))


def _superseded_evaluations(needs: Needs) -> Iterator[Removal]:
    """Old evaluations whose table is in no standing report."""
    published = {needs.lake.read(path) for report in needs.reports
                 if (path := f"reports/{report}/auc.csv") in needs.paths}  # fmt: skip
    for evaluation in sorted(needs.existing_keys("evaluations")):
        folder = f"evaluations/{evaluation}"
        objects = below(needs.objects, folder)
        if f"{folder}/summary.parquet" in needs.paths and all(item.is_older_than(needs.since) for item in objects):
            auc = read_evaluated(needs.lake, evaluation, "auc")
            if files_of({"auc": auc})["auc.csv"] not in published:
                yield Removal(folder, "evaluation in no standing report", (f"{folder}/summary.parquet",))


def _leftovers(objects: Sequence[StoredObject], before: datetime) -> Iterator[Removal]:
    """What killed writers have left: receipts beside a mark, temporary files."""
    paths = {item.path for item in objects}
    for item in objects:
        stem, receipts, _ = item.path.partition(".blocks/")
        if receipts and f"{stem}.json" in paths:
            yield Removal(f"{stem}.blocks", "receipts of a finished store")
        if PurePosixPath(item.path).name.startswith(".tmp-") and item.is_older_than(before):
            yield Removal(item.path, "left by a killed writer")
