"""The middle floor: one sub-package a stage, in the order in which data flow through them.

    ingest/        sources -> rows: names, manifests, what is new
    spectrograms/  bytes -> samples -> health and log-mel
    features/      log-mel -> windows -> images -> backbone -> features
    detectors/     features of normal sound -> one model a machine, with a threshold
    scoring/       models x features -> scores and decisions
    evaluation/    scores x labels -> AUC and its company
    reports/       tables -> a page, published

Plain modules are functions on arrays and rows; each stage's `task.py` binds them to storage, Dask and Prefect, and only
a `task.py` may import those two. Beside them: settings.py (every setting), catalog.py (what the lake knows of each
recording), progress.py, task.py (how any stage runs), and simulation/ (synthetic fleets).
"""
