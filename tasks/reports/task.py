"""The report stage: render, publish, and leave the same figures as artifacts on the Prefect run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pandas as pd

from humwatch.storage.naming import digest, path_component
from humwatch.storage.records import PublishedSummary
from humwatch.storage.reports import is_published, publish, set_latest
from humwatch.tasks.alarms.alarm_list import alarms_json, alarms_of
from humwatch.tasks.detectors.fit import versions
from humwatch.tasks.evaluation.store import Evaluation, read_evaluation, read_scores
from humwatch.tasks.execution.stage import artifacts_if_possible, stage
from humwatch.tasks.plan.actions import Actions
from humwatch.tasks.plan.catalog import silent_machines
from humwatch.tasks.plan.night_tables import night_of, read_night
from humwatch.tasks.plan.run import Run
from humwatch.tasks.plan.scores import score_paths
from humwatch.tasks.reports.assemble import clips, files_of, fleet_table, notes_table, rejected_table
from humwatch.tasks.reports.report_index import index_page

_MOST_ARTIFACT_ROWS = 200


@stage("report")
def publish_report(run: Run, evaluation_id: str, summary: Mapping[str, Any]) -> str:
    """Publish a night or an evaluation; return the URI of its page, of the standing one when nothing changed.

    A night is a scope of one night whose machines were judged. `summary` is the run's, with `listed`, `accepted`,
    `rejected` and `degraded`, perhaps with `doubts`, `next_step` and `nothing_arrived`; it is published
    beside the page.
    """
    lake, settings = run.lake, run.settings
    everything = run.catalog()
    catalog, silent = everything.restricted_to(run.scope), silent_machines(everything.history, run.scope)
    rejected = rejected_table(catalog)
    machines = read_night(run)
    counts = {name: int(summary[name]) for name in ("listed", "accepted", "rejected")}
    contents = {
        "evaluation": evaluation_id,
        "report": settings.report.model_dump(mode="json"),
        "rejected": rejected[["recording_id", "reason"]].to_numpy().tolist(),
        "counts": counts,
        "degraded": summary["degraded"],
        "silent": [machine.label for machine in silent],
        "machines": None if machines is None else machines.to_json(orient="values", double_precision=15),
        "versions": versions(),
        "actions": [] if machines is None else _actions(run),
    }
    told = {name: summary[name] for name in ("doubts", "next_step", "nothing_arrived") if name in summary}
    kind = f"night-{'-'.join(sorted(run.scope.batches))}" if run.scope.batches else "evaluation"
    report_id = f"{path_component(kind)[:60]}-{digest(contents | told, 12)}"
    evaluation = read_evaluation(lake, evaluation_id)
    if is_published(lake, report_id):
        uri = set_latest(lake, report_id, index_page)
    else:
        lake.about_to_write()
        from humwatch.tasks.reports.evaluation.page import ReportInput, render  # noqa: PLC0415 - too slow for a look
        from humwatch.tasks.reports.night.night_site import night_site  # noqa: PLC0415 - as above
        from humwatch.tasks.reports.night.site import pages  # noqa: PLC0415 - as above

        created_at = datetime.now(UTC).replace(microsecond=0)
        scores = read_scores(lake, score_paths(run))
        tables = {**vars(evaluation), "scores": scores, "rejected": rejected}
        report = ReportInput(
            title=settings.report.title,
            report_id=report_id,
            created_at=created_at,
            lake=run.lake_uri,
            auc=evaluation.auc,
            summary=evaluation.summary,
            comparisons=evaluation.comparisons,
            calibration=evaluation.calibration,
            published=evaluation.published,
            scores=scores,
            rejected=rejected,
            fleet=fleet_table(catalog, evaluation.auc, silent),
            counts=counts,
            degraded=bool(summary["degraded"]),
            max_rejected_fraction=settings.ingest.max_rejected_fraction,
            notes=notes_table(catalog, scores, run, silent),
            settings=settings.model_dump(mode="json"),
            versions=versions(),
            clips=[] if machines is not None else list(clips(catalog, scores, run)),
            **told,
        )
        published = {
            **summary,
            "report_id": report_id,
            "kind": "evaluation" if machines is None else "night",
            "title": settings.report.title,
            "created_at": created_at.isoformat(),
        }
        published["report"] = lake.uri_of(f"reports/{report_id}/index.html")
        if machines is None:
            files: Iterable[tuple[str, bytes]] = {**files_of(tables), "index.html": render(report).encode()}.items()
        else:
            alarms = alarms_of(machines)
            beside = files_of(tables | {"machines": machines, "alarms": alarms}) | {"alarms.json": alarms_json(alarms)}
            if evaluation.auc["auc"].notna().any():
                beside["evaluation.html"] = render(report).encode()
            site = night_site(catalog, run, report, [*beside, "mail.html", "summary.json"])
            published["machines"] = site.fleet.counts()
            files = chain(beside.items(), pages(site))
        uri = publish(lake, report_id, files, PublishedSummary.model_validate(published), index_page)
    lines = [f"- {name}: {count}" for name, count in counts.items()]
    lines += [
        f"- {doubt['message']}"
        for doubt in [*told.get("doubts", ()), *filter(None, map(told.get, ("next_step", "nothing_arrived")))]
    ]
    if not run.only_looks:
        _artifacts(uri, evaluation, machines, lines, degraded=bool(summary["degraded"]))
    return uri


def _actions(run: Run) -> list[list[str | None]]:
    """Return the ids of what people did about alarms by the night in scope, each with who withdrew it."""
    done = Actions.read(run.lake).until(str(night_of(run.scope)))
    return sorted([[row["action_id"], row["withdrawn_by"]] for rows in done.values() for row in rows], key=str)


def _artifacts(
    uri: str, evaluation: Evaluation, machines: pd.DataFrame | None, lines: Sequence[str], *, degraded: bool
) -> None:
    """Leave artifacts on the run; the report is published, so a Prefect server that is away is no reason to fail."""
    from prefect.artifacts import (  # noqa: PLC0415 - a look, which leaves none, needs no Prefect
        create_link_artifact,
        create_markdown_artifact,
        create_table_artifact,
    )

    compared, calibrated = (
        table[table["machine_id"].isna()] for table in (evaluation.comparisons, evaluation.calibration)
    )
    tables = {
        "auc": ("AUC by machine", evaluation.auc.drop(columns=["threshold", "precision", "recall", "f1"])),
        "comparisons": ("Differences of models over machines", compared.drop(columns=["machine_id", "site"])),
        "calibration": ("Stated and observed false alarms", calibrated.drop(columns=["machine_id", "site"])),
        "published": ("The paper's figures and ours", evaluation.published.dropna(subset=["auc"])),
    }
    if machines is not None:
        tables["machines"] = ("Machines that are not normal", machines[machines["state"] != "normal"])
    state = "**degraded**: too many recordings were rejected" if degraded else "complete"
    with artifacts_if_possible(f"the report {uri}"):
        for key, (description, table) in tables.items():
            if key == "auc" or not table.empty:
                rows = json.loads(table.head(_MOST_ARTIFACT_ROWS).to_json(orient="records"))
                create_table_artifact(rows, key=key, description=description)
        create_markdown_artifact("\n".join([f"# Humwatch report, {state}", *lines, f"- report: {uri}"]), key="summary")
        create_link_artifact(uri if "://" in uri else f"file://{uri}", link_text="report", key="report")
