"""The middle floor: one room a stage, in the order in which data flow through them, above the plan that they share.

    plan/          what should exist under given settings and scope, what it is called, what of it is there
    execution/     how a stage runs, on Dask workers and as one Prefect task
    weights/       where the weights of backbones are, and what is in their files

    ingest/        sources -> rows: names, manifests, what is new
    spectrograms/  bytes -> samples -> health and log-mel
    features/      log-mel -> windows -> images -> backbone -> features
    detectors/     features of normal sound -> one model a machine, with a threshold
    scoring/       models x features -> scores and decisions
    alarms/        scores of many nights -> a state for each machine and night
    evaluation/    scores x labels -> AUC and its company
    reports/       tables -> a page, published
    notify/        what is new on a night -> one message a channel

    explanation/   what drove a score
    settings.py    every setting
    frames.py      data frames as Python values

Plain modules are functions on arrays and rows; each stage's `task.py` binds them to storage, Dask and Prefect, and only
a `task.py` and `execution/stage.py` may import those two. A room imports only rooms that stand above it in this order:
settings, frames, weights, plan, execution, the stages up to alarms, explanation, evaluation, reports, notify.
"""
