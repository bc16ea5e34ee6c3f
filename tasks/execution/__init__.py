"""How a stage runs: as one Prefect task in the flow's process, its units of work on Dask workers.

stage.py       makes a function a stage; hands units to workers
worker.py      what runs around a unit on a worker
progress.py    how far a stage is
"""
