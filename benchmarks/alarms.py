"""Alarms against the truth: `python benchmarks/alarms.py fault-free`, and so on.

fault-free: simulated recording scores of fleets without a fault, of 1 to 1,000 machines and several shapes; the
    observed rate of new alarms with its 95 % interval between fleets, beside the stated one. There are so many fleets
    that the luck of their commissioning nights is in the figure.
floor: the same with a lasting shift of every recording of one machine in ten (one at least): what is detected how soon.
commissioning: night scores of 20,000 machines, judged provisionally from the sixth night to the fourteenth: without a
    fault, and with a lasting shift from the eighth night on.
fleet: `humwatch simulate` and `humwatch nightly` on fleets whose faults grow from a known night on, one fleet a size.
plants: fleets of 12 machines as `humwatch simulate` makes them unless told otherwise, at 6 dB, 20 nights, two machines
    with a fault, through `humwatch nightly` with a preset and nothing set; one row a seed.
healthy: six simulated machines without a fault through `humwatch nightly`, models of 20 to 400 training recordings, ten
    nights after commissioning; all presets unless one is named.

Seeds given by `--seeds` are for reported figures; the method was designed on others (docs/alarms.md).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import binom

from humwatch.flows.simulation import FleetPlan, simulate
from humwatch.tasks.alarms.levels import MIN_REFERENCE_NIGHTS
from humwatch.tasks.alarms.night_scores import Calibration, calibration_of, night_score
from humwatch.tasks.alarms.replay import Night, Verdict, replay
from humwatch.tasks.alarms.shift import newest_shift
from humwatch.tasks.detectors.calibration import p_values
from humwatch.tasks.settings import AlarmSettings

Floats = NDArray[np.float64]

COMMISSIONING, NIGHTS, RECORDINGS = 14, 60, 10
HEALTHY = ((5, 4), (10, 4), (12, 6), (15, 10), (20, 20))  # commissioning nights and recordings a night
# Fleets of each size: some hundred thousand machine-nights, fewer of single machines.
FLEETS = {1: 1000, 3: 600, 12: 300, 40: 90, 100: 36, 1000: 4}


@dataclass(frozen=True)
class Shape:
    """How scores are drawn: of recordings, of what their night has in common, of what the fleet's night has."""

    name: str
    recording: str
    night: str
    autocorrelation: float = 0.0
    fleet: float = 0.0


SHAPES = (
    Shape("normal", "normal", "normal"),
    Shape("skewed (lognormal, gamma nights)", "lognormal", "gamma"),
    Shape("heavy-tailed (t3, t4 nights)", "t3", "t4"),
    Shape("normal, fleet-wide weather", "normal", "normal", fleet=0.5),
    Shape("normal, nights correlated 0.3", "normal", "normal", autocorrelation=0.3),
    Shape("skewed, correlated, weather", "lognormal", "gamma", autocorrelation=0.3, fleet=0.5),
)


def draw(generator: np.random.Generator, kind: str, size: tuple[int, ...]) -> Floats:
    """Return independent numbers of mean 0 and variance 1."""
    if kind == "lognormal":
        variance = 0.64
        mean = np.exp(variance / 2)
        return (generator.lognormal(sigma=0.8, size=size) - mean) / (mean * np.sqrt(np.expm1(variance)))
    if kind == "gamma":
        return (generator.gamma(4.0, size=size) - 4) / 2
    if kind in {"t3", "t4"}:
        freedom = int(kind[1])
        return generator.standard_t(freedom, size) / np.sqrt(freedom / (freedom - 2))
    return generator.normal(size=size)


def scores_of(shape: Shape, generator: np.random.Generator, machines: int, nights: int) -> Floats:
    """Return recording scores (machine, night, recording): each machine's on a scale of its own, variance 1.5 of it."""
    innovations = draw(generator, shape.night, (machines, nights))
    common = np.empty_like(innovations)
    common[:, 0] = innovations[:, 0]
    for night in range(1, nights):
        common[:, night] = shape.autocorrelation * common[:, night - 1]
        common[:, night] += np.sqrt(1 - shape.autocorrelation**2) * innovations[:, night]
    fleet = shape.fleet * generator.normal(size=(1, nights, 1))
    scores = (
        draw(generator, shape.recording, (machines, nights, RECORDINGS)) + np.sqrt(0.5) * common[:, :, None] + fleet
    )
    return generator.lognormal(size=(machines, 1, 1)) * scores + 5 * generator.normal(size=(machines, 1, 1))


def watch(scores: Floats, settings: AlarmSettings) -> list[Verdict]:
    """Return the verdicts of the nights after commissioning, as the alarms stage gives them."""
    machines = len(scores)
    dates = [(date(2026, 1, 1) + timedelta(days=night)).isoformat() for night in range(scores.shape[1])]
    names = [f"fan/id_{machine:04d}" for machine in range(machines)]
    calibrations: dict[str, Calibration] = {}
    night_scores = np.empty((machines, scores.shape[1] - COMMISSIONING))
    for machine, name in enumerate(names):
        commissioning = scores[machine, :COMMISSIONING].ravel()
        passport = SimpleNamespace(
            calibration_scores=commissioning.tolist(),
            calibration_batches=np.repeat(dates[:COMMISSIONING], RECORDINGS).tolist(),
            calibration_folds=5,
        )
        calibrations[name] = calibration_of(passport)
        ranks = p_values(scores[machine, COMMISSIONING:], commissioning)
        night_scores[machine] = [night_score(of_night, len(commissioning)) for of_night in ranks]
    recordings, nobody = np.full(machines, RECORDINGS), np.zeros(machines, dtype=bool)
    nights = [
        Night(day, night_scores[:, index], recordings, names, nobody, nobody, ~nobody)
        for index, day in enumerate(dates[COMMISSIONING:])
    ]
    return list(replay(["fan"] * machines, names, nights, calibrations, settings))


def fleets_of(machines: int, seed: int, share: float) -> Iterator[np.random.Generator]:
    """Yield a generator for each fleet of a size; `share` of their usual number."""
    for number in range(max(2, round(share * FLEETS[machines]))):
        yield np.random.default_rng((seed, machines, number))


def false_alarms(shape: Shape, machines: int, seed: int, share: float, settings: AlarmSettings) -> list[str]:
    """Return a row: observed and stated alarms of fleets of one size and shape."""
    raised, at_risk, attention = [], [], []
    for generator in fleets_of(machines, seed, share):
        verdicts = watch(scores_of(shape, generator, machines, COMMISSIONING + NIGHTS), settings)
        new = np.array([verdict.new_alarm for verdict in verdicts])
        free = ~np.array([verdict.alarm for verdict in verdicts]) | new
        raised.append(new.sum())
        at_risk.append(free.sum())
        attention.append((np.array([verdict.attention for verdict in verdicts]) & free).sum())
    count, nights = np.array(raised), np.array(at_risk)
    rate = count.sum() / nights.sum()
    error = 1.96 * float(np.std(count - rate * nights, ddof=1)) * np.sqrt(len(count)) / nights.sum()
    low, high = binom.interval(0.95, int(nights.sum()), settings.false_alarm_rate) / nights.sum()
    stated = settings.false_alarm_rate
    verdict = "inside" if rate - error <= stated <= rate + error else "below" if rate < stated else "ABOVE"
    return [shape.name, str(machines), str(len(count)), str(nights.sum()), str(count.sum()), f"{rate:.5f}",
            f"{max(rate - error, 0):.5f}-{rate + error:.5f}", verdict, f"{low:.5f}-{high:.5f}",
            f"{np.quantile(count / nights, 0.95):.5f}", f"{sum(attention) / nights.sum():.4f}"]  # fmt: skip


def detection(
    shape: Shape,
    machines: int,
    size: float,
    per: str,
    seed: int,
    share: float,
    settings: AlarmSettings,
    onset: int = 10,
) -> list[str]:
    """Return a row: how soon a lasting shift of all recordings of one machine in ten is attention and alarm."""
    after_nights = (1, 3, 4, 5, 7, 10, 14, 21)
    delays: list[float] = []
    errors: list[int] = []
    noticed: list[float] = []
    for generator in fleets_of(machines, seed, share):
        scores = scores_of(shape, generator, machines, COMMISSIONING + onset + max(after_nights))
        shifted = slice(0, max(1, machines // 10))
        normal = scores[shifted].mean(axis=2) if per == "night" else scores[shifted].reshape(shifted.stop, -1)
        spread = normal.std(axis=1, ddof=1)
        scores[shifted, COMMISSIONING + onset :] += size * spread[:, None, None]
        verdicts = watch(scores, settings)
        alarm, attention = (
            np.array([getattr(verdict, name)[shifted] for verdict in verdicts]) for name in ("alarm", "attention")
        )
        for machine in np.flatnonzero(~alarm[onset - 1]):
            delay = _first(alarm[onset:, machine])
            delays.append(delay)
            noticed.append(_first(attention[onset:, machine]))
            if np.isfinite(delay):
                dated = date.fromisoformat(str(verdicts[onset + int(delay) - 1].onset[machine]))
                errors.append((dated - date(2026, 1, 1)).days - COMMISSIONING - onset)
    shares = [f"{np.mean(np.array(delays) <= nights):.2f}" for nights in after_nights]
    error = "/".join(f"{value:+.0f}" for value in np.quantile(errors, (0.1, 0.5, 0.9))) if errors else ""
    return [shape.name.partition(" ")[0], str(machines), f"{size:g}", str(len(delays)),
            f"{np.mean(np.array(noticed) <= 1):.2f}", *shares, error]  # fmt: skip


def _first(flags: NDArray[np.bool_]) -> float:
    return float(np.argmax(flags)) + 1 if flags.any() else float("inf")


def fault_free(given: argparse.Namespace, console: Console) -> None:
    """Print how often machines without a fault are called."""
    for rate in given.rates or (0.001, 0.01):
        settings = AlarmSettings(false_alarm_rate=rate, attention_rate=max(0.01, 5 * rate))
        table = Table(
            title=f"Fleets without a fault, {NIGHTS} nights, seed {given.seeds[0]}: new alarms, stated {rate:g}"
        )
        for column in ("shape", "machines", "fleets", "machine-nights", "alarms", "rate", "95 % between fleets", "",
                       "binomial", "95th fleet", "attention"):  # fmt: skip
            table.add_column(column, justify="left" if column == "shape" else "right")
        for machines in given.fleets or FLEETS:
            for shape in SHAPES:
                table.add_row(*false_alarms(shape, machines, given.seeds[0], given.share, settings))
        console.print(table)


def detection_floor(given: argparse.Namespace, console: Console) -> None:
    """Print how soon a lasting shift is an alarm."""
    for rate in given.rates or (0.001,):
        settings = AlarmSettings(false_alarm_rate=rate, attention_rate=max(0.01, 5 * rate))
        floor = Table(
            title=f"Lasting shift in standard deviations of a {given.per}'s score, stated {rate:g}: share in alarm "
            "within so many nights"
        )
        for column in ("shape", "machines", "shift", "faults", "attention 1", "1", "3", "4", "5", "7", "10", "14", "21",
                       "onset error 10/50/90 %"):  # fmt: skip
            floor.add_column(column, justify="right")
        for machines in given.fleets or FLEETS:
            for shape in SHAPES[: given.shapes]:
                for size in given.sizes or (1.0, 2.0, 4.0):
                    floor.add_row(*detection(shape, machines, size, given.per, given.seeds[0], given.share, settings))
        console.print(floor)


def strikes(scores: Floats, rate: float) -> NDArray[np.bool_]:
    """Return whether each night from the sixth on is striking in commissioning: bool (machine, night)."""
    machines, everywhere = len(scores), np.ones(scores.shape, dtype=bool)
    types, first = np.array(["fan"] * machines, dtype=object), MIN_REFERENCE_NIGHTS
    nights = [scores[:, : tonight + 1] for tonight in range(first, scores.shape[1])]
    found = [newest_shift(each, np.ones(each.shape), everywhere[:, : each.shape[1]], types, first) for each in nights]
    return np.stack([each.p_value <= rate for each in found], axis=1)


def commissioned(given: argparse.Namespace, console: Console) -> None:
    """Print what is called in provisional attention, of machines without a fault and with one."""
    machines, rate, generator = 20_000, 0.01, np.random.default_rng(given.seeds[0])
    table = Table(title=f"Provisional attention, stated {rate:g}, {machines} machines, nights 6 to {COMMISSIONING}")
    for column in ("night scores", "rate", "binomial 95 %"):
        table.add_column(column, justify="left" if column == "night scores" else "right")
    scores = {kind: draw(generator, kind, (machines, COMMISSIONING)) for kind in ("normal", "t4", "gamma")}
    correlated = scores["normal"].copy()
    for night in range(1, COMMISSIONING):
        correlated[:, night] = 0.3 * correlated[:, night - 1] + np.sqrt(1 - 0.3**2) * correlated[:, night]
    for kind, of_kind in {**scores, "normal, correlated 0.3": correlated}.items():
        found = strikes(of_kind, rate)
        low, high = binom.interval(0.95, found.size, rate) / np.array(found.size)
        table.add_row(kind, f"{found.mean():.4f}", f"{low:.4f}-{high:.4f}")
    console.print(table)
    table = Table(
        title="Normal night scores, a lasting shift from the eighth night on: share found within so many nights"
    )
    for column in ("standard deviations", "1", "2", "3", "5", "7"):
        table.add_column(column, justify="right")
    for size in given.sizes or (1.0, 2.0, 3.0, 4.0):
        shifted = scores["normal"].copy()
        shifted[: machines // 10, 7:] += size
        since = strikes(shifted, rate)[: machines // 10, 2:]
        table.add_row(f"{size:g}", *(f"{since[:, :nights].any(axis=1).mean():.2f}" for nights in (1, 2, 3, 5, 7)))
    console.print(table)


def fleet_run(plan: FleetPlan, rate: float, backbone: str, root: Path) -> pd.DataFrame:
    """Return a fleet's machine-nights at a stated rate, by Mahalanobis distance: see `through_nightly`."""
    settings = (f"alarms.false_alarm_rate={rate}", f"alarms.attention_rate={10 * rate}", "images.window_frames=32",
                "fit.min_training_recordings=14")  # fmt: skip
    assignments = (part for assignment in settings for part in ("--set", assignment))
    return through_nightly(plan, ("--backbone", backbone, "--detector", "mahalanobis", *assignments), root)


def through_nightly(plan: FleetPlan, options: Sequence[str], root: Path) -> pd.DataFrame:
    """Simulate a fleet, send it through `humwatch nightly`, return its machine-nights with `fault`, `fault_onset`."""
    fleet = simulate(plan, root / "nights", workers=2)
    command = [sys.executable, "-m", "humwatch", "nightly", str(root / "nights"), "--lake", str(root / "lake"),
               "--json", "--set", "report.max_clips=0", *options]  # fmt: skip
    environment = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300", **os.environ}  # on a busy host
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if ran.returncode not in (0, 3):
        raise RuntimeError(ran.stdout + ran.stderr)
    nights = pd.concat([pd.read_parquet(path) for path in sorted((root / "lake/nights").rglob("*.parquet"))])
    truth = pd.read_csv(fleet.machines_csv).rename(columns={"onset": "fault_onset"})
    wanted = truth[["machine_type", "machine_id", "fault", "fault_onset"]]
    return nights.merge(wanted, on=["machine_type", "machine_id"])


def growing_faults(given: argparse.Namespace, rate: float, console: Console) -> None:
    """Print what became of faults that grow from a known night on."""
    table = Table(title=f"Growing faults, {given.backbone} and mahalanobis, seeds {given.seeds}, stated rate {rate:g}")
    for column in ("size on last night", "faults", "alarms", "attention", "delay 10/50/90 %", "onset error 10/50/90 %",
                   "machine-nights without fault", "false alarms", "95 % interval"):  # fmt: skip
        table.add_column(column, justify="right")
    for size in given.sizes or (0.25, 0.5):
        runs = []
        for seed in given.seeds:
            plan = FleetPlan(
                machines=given.machines, nights=given.nights, snr_db=6.0, seed=seed, recordings_per_night=3,
                duration_s=2.0, types=("fan", "pump"), fault_fraction=0.4, fault_size=size, commissioning_nights=14,
            )  # fmt: skip
            with tempfile.TemporaryDirectory(prefix="humwatch-alarms-") as folder:
                root = given.keep / f"{seed}-{size:g}" if given.keep else Path(folder)
                runs.append(fleet_run(plan, rate, given.backbone, root).assign(seed=seed))
        nights = pd.concat(runs, ignore_index=True)
        table.add_row(f"{size:g}", *_judged(nights, rate))
        console.print(_by_kind(nights, size))
    console.print(table)


def plants(given: argparse.Namespace, console: Console) -> None:
    """Print what was found in fleets of 12 machines with nothing set but the preset."""
    preset = given.preset or "fast"
    table = Table(title=f"12 machines, 20 nights, 6 dB, preset {preset}, all settings as they come")
    for column in ("seed", "faults", "in alarm", "in attention", "delay in nights", "onset error", "without fault",
                   "false alarms", "in attention"):  # fmt: skip
        table.add_column(column, justify="right")
    for seed in given.seeds:
        with tempfile.TemporaryDirectory(prefix="humwatch-alarms-") as folder:
            plan = FleetPlan(machines=12, nights=20, snr_db=6.0, seed=seed)
            root = given.keep / f"{preset}-{seed}" if given.keep else Path(folder)
            nights = through_nightly(plan, ("--preset", preset), root).assign(seed=seed)
        faults, others = _faults(nights), nights[nights["fault_onset"].isna()]
        names = ["machine_type", "machine_id"]
        states = others.groupby(names)["state"].agg(set)
        found = faults.dropna(subset="delay")
        delays, errors = (", ".join(f"{each:+.0f}" for each in found[name]) for name in ("delay", "onset_error"))
        table.add_row(
            str(seed), str(len(faults)), str(len(found)), str(int(faults["noticed"].sum())),
            delays, errors, str(len(states)), str(int(others["new_alarm"].sum())),
            str(sum("attention" in each for each in states)),
        )  # fmt: skip
        console.print(table)


def healthy(given: argparse.Namespace, rate: float, console: Console) -> None:
    """Print what is called, by preset and number of training recordings, in fleets without a fault."""
    judged, settings = 10, (f"alarms.false_alarm_rate={rate}", f"alarms.attention_rate={5 * rate}")
    table = Table(title=f"6 machines without a fault, {judged} nights after commissioning, seeds {given.seeds}")
    for column in ("preset", "training recordings", "mean p-value", "machine-nights", "alarms", "of machines",
                   f"95 % interval at {rate:g}", f"in attention (stated {5 * rate:g})"):  # fmt: skip
        table.add_column(column, justify="right")
    presets = {"fast": (), "default": (), "paper": ("--backbone", "squeezenet1_1")}  # whose weights come with pip
    for preset in [given.preset] if given.preset else presets:
        for commissioning, a_night in HEALTHY:
            runs = []
            for seed in given.seeds:
                plan = FleetPlan(
                    machines=6, nights=commissioning + judged, snr_db=6.0, seed=seed, recordings_per_night=a_night,
                    duration_s=3.0, fault_fraction=0.0, dropout_rate=0.0, broken_rate=0.0,
                )  # fmt: skip
                options = (f"fit.commissioning_nights={commissioning}", "fit.min_training_recordings=20", *settings)
                with tempfile.TemporaryDirectory(prefix="humwatch-alarms-") as folder:
                    assignments = (part for option in options for part in ("--set", option))
                    nights = through_nightly(plan, ("--preset", preset, *presets[preset], *assignments), Path(folder))
                runs.append(nights.assign(seed=seed))
            nights = pd.concat(runs, ignore_index=True)
            nights = nights[nights["statistic"].notna()]
            at_risk = nights[nights["alarm_since"].isna() | nights["new_alarm"]]
            new = at_risk[at_risk["new_alarm"]]
            low, high = binom.interval(0.95, len(at_risk), rate)
            called = (at_risk["state"].isin(["attention", "alarm"])).sum()
            table.add_row(preset, str(commissioning * a_night), f"{nights['p_value'].mean():.2f}", str(len(at_risk)),
                          str(len(new)), str(new[["seed", "machine_type", "machine_id"]].drop_duplicates().shape[0]),
                          f"{low:.0f}-{high:.0f}", f"{called / max(len(at_risk), 1):.3f}")  # fmt: skip
            console.print(table)


def _judged(nights: pd.DataFrame, rate: float) -> list[str]:
    faulty = nights["fault_onset"].notna()
    before = ~faulty | (nights["night"] < nights["fault_onset"].astype(str))
    at_risk = nights[before & nights["statistic"].notna() & (nights["alarm_since"].isna() | nights["new_alarm"])]
    faults = _faults(nights)
    raised = faults["delay"].dropna()
    low, high = binom.interval(0.95, len(at_risk), rate)
    return [str(len(faults)), f"{len(raised)} ({len(raised) / len(faults):.0%})", f"{faults['noticed'].mean():.0%}",
            _quantiles(raised), _quantiles(faults["onset_error"].dropna()), str(len(at_risk)),
            str(int(at_risk["new_alarm"].sum())), f"{low:.0f}-{high:.0f}"]  # fmt: skip


def _faults(nights: pd.DataFrame) -> pd.DataFrame:
    """Return one row a fault that was not preceded by a standing alarm: delay and error of its onset in nights."""
    rows = []
    for _, machine in nights[nights["fault_onset"].notna()].groupby(["seed", "machine_type", "machine_id"]):
        onset = machine["fault_onset"].iloc[0]
        after = machine[machine["night"] >= onset]
        if after["alarm_since"].lt(onset).any():
            continue
        alarms, noticed = after[after["new_alarm"]], after["state"].isin(["attention", "alarm"]).any()
        first = alarms.iloc[0] if len(alarms) else None
        rows.append({
            "fault": machine["fault"].iloc[0],
            "noticed": noticed,
            "delay": _nights(onset, first["night"]) + 1 if first is not None else np.nan,
            "onset_error": _nights(onset, first["onset"]) if first is not None else np.nan,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _by_kind(nights: pd.DataFrame, size: float) -> Table:
    table = Table(title=f"size {size:g} by kind")
    for column in ("fault", "faults", "alarms"):
        table.add_column(column)
    for kind, rows in _faults(nights).groupby("fault"):
        table.add_row(str(kind), str(len(rows)), str(int(rows["delay"].notna().sum())))
    return table


def _nights(first: str, last: str) -> int:
    return (pd.Timestamp(last) - pd.Timestamp(first)).days


def _quantiles(values: pd.Series) -> str:
    return "/".join(f"{value:.0f}" for value in values.quantile([0.1, 0.5, 0.9])) if len(values) else ""


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["fault-free", "floor", "commissioning", "fleet", "plants", "healthy"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101], help="fleet and plants take several")
    parser.add_argument("--rates", type=float, nargs="+", help="stated; unset: 0.001 and 0.01, of a fleet 0.005")
    parser.add_argument("--fleets", type=int, nargs="+", choices=list(FLEETS), help="machines of a fleet; unset: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of fleets")
    parser.add_argument("--shapes", type=int, default=3, help="of floor: how many, normal first")
    parser.add_argument(
        "--sizes", type=float, nargs="+", help="of shifts, in standard deviations; of the faults of a fleet"
    )
    parser.add_argument(
        "--per", choices=["night", "recording"], default="night", help="whose spread shifts are told in"
    )
    parser.add_argument("--backbone", default="logmel", help="representation of the fleet's models")
    parser.add_argument("--preset", help="of plants (unset: fast) and healthy (unset: all)")
    parser.add_argument("--machines", type=int, default=20, help="of a fleet: fans and pumps")
    parser.add_argument("--nights", type=int, default=26, help="of a fleet, 14 of commissioning included")
    parser.add_argument("--keep", type=Path, help="keep each fleet and its lake in this folder")
    given, console = parser.parse_args(), Console(width=180)
    if given.what == "fault-free":
        fault_free(given, console)
    elif given.what == "floor":
        detection_floor(given, console)
    elif given.what == "commissioning":
        commissioned(given, console)
    elif given.what == "plants":
        plants(given, console)
    elif given.what == "healthy":
        healthy(given, (given.rates or [0.01])[0], console)
    else:
        growing_faults(given, (given.rates or [0.005])[0], console)


if __name__ == "__main__":
    main()
