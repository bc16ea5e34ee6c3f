"""Published grids by one command."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from humwatch.flows.cli.answers import Answer, answer
from humwatch.flows.cli.console import live_progress, print_table
from humwatch.flows.cli.options import (
    AsJson,
    Assignments,
    ConfigFile,
    Device,
    LakeUri,
    Sources,
    Workers,
    absolute,
    absolute_all,
    worker_flags,
)
from humwatch.flows.exit_status import DONE, FAILED

if TYPE_CHECKING:
    from humwatch.flows.grids import BenchmarkName
    from humwatch.storage.lake import Lake

app = typer.Typer()
benchmark_app = typer.Typer(
    no_args_is_help=True, help="Published grids: their models on all recordings of a lake, in one table."
)
app.add_typer(benchmark_app, name="benchmark")

Skip = Annotated[
    list[str] | None,
    typer.Option(
        "--skip",
        help="A backbone or detector of the grid to leave out; repeatable. Without a GPU lenet_dcae takes hours.",
    ),
]

Added = Annotated[
    list[str] | None,
    typer.Option("--backbone", help="Another backbone to put through the paper's chain, beside its own; repeatable."),
]


def _command(name: BenchmarkName, text: str) -> None:
    @benchmark_app.command(name, help=text)
    def command(
        sources: Sources,
        lake: LakeUri,
        skip: Skip = None,
        added: Added = None,
        config: ConfigFile = None,
        assignments: Assignments = None,
        workers: Workers = None,
        device: Device = None,
        as_json: AsJson = False,
    ) -> None:
        root = absolute(lake)

        def run() -> Answer:
            from humwatch.flows.grids import benchmark
            from humwatch.storage.lake import Lake

            given = absolute_all(sources)
            with live_progress(quiet=as_json):
                flags = worker_flags(workers, device)
                done = benchmark(name, root, given, config, flags, assignments or (), skip or (), added or ())
            summary = done.as_json()
            if not as_json and done.report:
                print_table(_models(Lake(done.report.rsplit("/", 1)[0])))
                print_table(f"report: {done.report}")
            return summary, FAILED if summary["errors"] else DONE

        answer(f"benchmark {name}", root, run, as_json=as_json)


_command(
    "mimii",
    "The grid of Müller et al. 2020 and the default preset on MIMII or archives in its layout, beside the published "
    "figures: 6 runs, each of which does only what is missing.",
)
_command(
    "dcase",
    "The default preset, the paper's chains and the autoencoders on the official split of a DCASE Task 2 development "
    "set: AUC of source and target, pAUC and the official score of the year.",
)


def _models(report: Lake) -> Table:
    import pandas as pd

    from humwatch.flows.grids import LEFT_OUT
    from humwatch.tasks.frames import rows_of

    models = pd.read_csv(io.BytesIO(report.read("models.csv")))
    figures = {"mean_auc": "AUC", "mean_auc_source": "source", "mean_auc_target": "target", "mean_pauc": "pAUC",
               "hmean_dcase": "DCASE", "hmean_dcase_2021": "2021", "published_auc": "published"}  # fmt: skip
    shown = Table("backbone", "detector", "condition", "machines", *figures.values())
    for row in rows_of(models):
        numbers = ["" if row[figure] is None else f"{row[figure]:.3f}" for figure in figures]
        names = (str(row[name] or "") for name in ("backbone", "detector", "condition"))
        machines = {None: str(row["n_machines"]), LEFT_OUT: LEFT_OUT}.get(row["reason"], "no weights")
        shown.add_row(*names, machines, *numbers)
    return shown
