"""A small lake as one commit of Humwatch writes it, kept as data so that later ones are held to reading it.

    git worktree add /tmp/humwatch-COMMIT COMMIT && make -C /tmp/humwatch-COMMIT .venv/.installed
    python tests/data/build_lake.py /tmp/humwatch-COMMIT/.venv/bin/humwatch tests/data/lake_COMMIT.zip

It holds a night's fleet (judged nights, models, a gate, labels) and labelled machines, each below a folder of the
archive of its own. Sources are not in it: their addresses are those of a folder that is gone.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from recordings import machine, write_zip

NIGHTS = ("2026-01-01", "2026-01-06")
SMALL = ("--set", "spectrogram.n_mels=8", "--set", "report.max_clips=0", "--set", "evaluation.bootstrap_samples=100")
FLEET = (
    *SMALL,
    *("--preset", "fast", "--backbone", "logmel/8x1/mean,std/recording"),
    *("--set", "fit.commissioning_nights=4", "--set", "fit.min_training_recordings=8"),
    *("--set", "fit.calibration_folds=2", "--set", "fit.pca_components=2", "--set", "fit.knn_local=2"),
    *("--set", "alarms.false_alarm_rate=0.1", "--set", "alarms.attention_rate=0.2"),
    *("--set", "retrain.training_nights=4", "--set", "retrain.gate_nights=1", "--set", "retrain.min_gate_recordings=2"),
)
READ_AGAIN = {"summary.json", "latest.json", "auc.csv", "scores.parquet"}
LABELLED = (
    *SMALL,
    *("--backbone", "fake", "--backbone", "logmel/8x1/mean", "--detector", "gmm", "--detector", "knn"),
    *("--set", "fit.gmm_components=2", "--set", "fit.pca_components=2", "--set", "fit.knn_local=2"),
    *("--set", "images.image_size_px=64"),
)


def build(humwatch: str, folder: Path) -> None:
    """Write the lakes `fleet` and `labelled` into a folder."""

    def run(*arguments: object) -> None:
        subprocess.run([humwatch, *map(str, arguments), "--json"], check=True, stdout=subprocess.DEVNULL)

    nights, fleet = folder / "nights", folder / "fleet"
    run("simulate", nights, *("--machines", 2, "--nights", 6, "--snr", 6, "--seed", 1, "--duration", 2.2),
        "--recordings-per-night", 3)  # fmt: skip
    run("backfill", nights, "--lake", fleet, "--from", NIGHTS[0], "--to", NIGHTS[1], *FLEET)
    run("retrain", "--lake", fleet, *FLEET)
    log = folder / "log.csv"
    log.write_text("machine_type,machine_id,from,until,label,note\nfan,id_00,2026-01-06,2026-01-06,abnormal,bearing\n")
    run("labels", "import", log, "--lake", fleet)
    run("nightly", "--lake", fleet, "--date", NIGHTS[1], *FLEET)
    members = {**machine("fan/id_00", 6, 3, duration_s=2.2), **machine("pump/id_01", 4, 0, duration_s=2.2)}
    plant = write_zip(folder / "plant.zip", members)
    run("run", plant, "--lake", folder / "labelled", *LABELLED)


def pack(folder: Path, destination: Path) -> None:
    """Keep both lakes as one archive, of the reports only what the lake itself reads again."""
    with zipfile.ZipFile(destination, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for lake in ("fleet", "labelled"):
            for path in sorted((folder / lake).rglob("*")):
                of_report = path.relative_to(folder / lake).parts[0] == "reports"
                if path.is_file() and not (of_report and path.name not in READ_AGAIN):
                    archive.write(path, path.relative_to(folder))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        build(sys.argv[1], Path(scratch))
        pack(Path(scratch), Path(sys.argv[2]))
