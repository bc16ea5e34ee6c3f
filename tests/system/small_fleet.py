"""A small fleet whose alarm is raised in a few nights: the same in the tests that judge it and that tell of it."""

from datetime import date

from conftest import FAKE

from humwatch.flows.simulation import FleetPlan

PLAN = FleetPlan(
    machines=4, nights=12, snr_db=6.0, seed=3, first_night=date(2026, 1, 1), types=("fan",), duration_s=2.2,
    recordings_per_night=3, fault_fraction=0.25, fault_size=4.0, commissioning_nights=6, dropout_rate=0.0,
    broken_rate=0.0,
)  # fmt: skip
"""Twelve nights of four fans, one of them with a fault that grows."""

SETTINGS = (
    "fit.commissioning_nights=6", "fit.min_training_recordings=8", "alarms.false_alarm_rate=0.05",
    "alarms.attention_rate=0.1",
)  # fmt: skip
FLEET = (*FAKE, *(part for setting in SETTINGS for part in ("--set", setting)))
LAST = "2026-01-12"
