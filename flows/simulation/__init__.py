"""A synthetic fleet: machines with known physics, faults with known bands and onsets, archives like a site's own.

Where do I go to...?
  signals.py     noise of a given spectrum, lookup tables, pulse trains: the building blocks
  machines.py    the physics of a machine
  machine_types  what makes a fan, a pump, a slider, a valve
  faults.py      what each fault does to a sound, and in which band
  fleet_plan.py  the plan: which machine, which night, which fault, what goes missing
  recordings.py  one recording from the plan, independent of every other
  takes.py       names of archives and files, rows of the truth
  archives.py    the files, in parallel, and the truth beside them
  files.py       WAV, zip and CSV, whole or not at all
"""

from humwatch.flows.simulation.archives import SimulatedFleet, simulate, simulate_labelled
from humwatch.flows.simulation.faults import Fault, add_fault
from humwatch.flows.simulation.fleet_plan import FleetPlan
from humwatch.flows.simulation.recordings import render_components, render_recording

__all__ = [
    "Fault",
    "FleetPlan",
    "SimulatedFleet",
    "add_fault",
    "render_components",
    "render_recording",
    "simulate",
    "simulate_labelled",
]
