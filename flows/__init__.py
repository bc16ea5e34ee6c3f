"""The upper floor: wiring. Flows hold calls and retries, not sums and arrays.

pipeline.py       stages one after the other: the body of every flow
nightly.py        a night;  backfill.py: many;  train.py: models and figures without a night
grids.py          published grids over a lake
fleet_flow.py     what the flows of a fleet share
cluster.py        the Dask workers of a run
serving.py        one machine that runs every night by itself
presets.py        settings of a run: presets, file, environment, flags
settings_page.py  docs/settings.md
summary.py        what a run did
stage_progress.py progress as Prefect artifacts
operations/       status, doctor, prune: looks into a lake, without a run; inspecting: into sources, without a lake
simulation/       synthetic fleets with known faults
cli/              the command line
"""
