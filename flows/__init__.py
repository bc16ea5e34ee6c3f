"""The upper floor: wiring. Flows hold calls and retries, not sums and arrays.

looking.py        how `run` and `nightly` begin: with a look, and as a flow where that finds something to do
stages.py         the stages, one after the other;  night.py: all of a night: both without Prefect
pipeline.py       the flow of single stages, and what every flow has around its body
nightly.py        a night as a flow;  backfill.py: many;  train.py: models and figures without a night
grids.py          published grids over a lake
fleet_flow.py     what the flows of a fleet share
cluster.py        the Dask workers of a run
serving.py        one machine that runs every night by itself
presets.py        settings of a run: presets, file, environment, flags
settings_page.py  docs/settings.md
summary.py        what a run did;  run_failed.py: one that could not go on
prefect_server.py whether there is one
stage_progress.py progress as Prefect artifacts
operations/       status, doctor, prune: looks into a lake, without a run; inspecting: into sources, without a lake
simulation/       synthetic fleets with known faults
cli/              the command line
"""
