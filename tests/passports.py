"""Passports and gates of models that tests do not fit."""

from humwatch.storage.records import Gate, Passport


def passport(**given) -> Passport:
    """A passport that says what is given and of the rest something plausible."""
    fit = {"calibration_folds": 2, **given.pop("fit", {})}
    usual = {
        "machine": "fan id_00",
        "backbone": "fake",
        "detector": "gmm",
        "seed": 0,
        "training": "labelled",
        "settings": {"fit": fit},
        "training_recordings": [],
        "calibration_scores": [],
        "calibration_batches": [],
        "false_alarm_rate": 0.01,
        "threshold": None,
        "versions": {},
    }
    return Passport(**{**usual, **given})


def gate(**given) -> Gate:
    """A gate that decided as given."""
    usual = {
        "machine": "fan id_00",
        "backbone": "fake",
        "detector": "gmm",
        "seed": 0,
        "version": "v1",
        "decided_at": "2026-11-21T00:00:00+00:00",
        "accepted": True,
        "reason": "",
        "recordings": 50,
        "false_alarms": 0,
        "low": 0.0,
        "high": 0.1,
        "stated": 0.01,
    }
    return Gate(**{**usual, **given})
