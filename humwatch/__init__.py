"""Anomalous sound detection for a fleet of machines, from archives of recordings to published reports.

The three floors lie at the root of the repository and are linked here; imports go down only:

    humwatch.storage   what is kept and where
    humwatch.tasks     the stages, in the order in which data flow through them, and the plan they share
    humwatch.flows     wiring: settings, runs, the command line
"""

from importlib.metadata import version

__version__ = version("humwatch")
