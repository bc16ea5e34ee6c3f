"""The middle floor: one sub-package a stage, in the order in which data flow through them.

    ingest/        sources -> rows: names, manifests, what is new
    spectrograms/  bytes -> samples -> health and log-mel
    features/      log-mel -> windows -> images -> backbone -> features
    detectors/     features of normal sound -> one model a machine, with a threshold
    scoring/       models x features -> scores and decisions
    alarms/        scores of many nights -> a state for each machine and night
    evaluation/    scores x labels -> AUC and its company
    reports/       tables -> a page, published

Plain modules are functions on arrays and rows; each stage's `task.py` binds them to storage, Dask and Prefect, and only
a `task.py` may import those two.

Beside the stages:
    settings.py    every setting                      work.py        what every stage is given
    catalog.py     what the lake knows of each        scope.py       which nights and machines a run is about
                   recording                          labels.py      what people say of recordings
    task.py        how any stage runs                 worker.py      what runs around a unit on a worker
    progress.py    how far a stage is                 retention.py   what the lake must keep
    nights.py      what a run without a date does     explanation/   what drove a score
    simulation/    synthetic fleets with known faults
"""
