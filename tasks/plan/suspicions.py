"""What the same samples in several places are a sign of: a leak, a wrong label, a machine under another's name."""

from __future__ import annotations

import pandas as pd

from humwatch.storage.models import Machine
from humwatch.storage.reasons import Reason
from humwatch.tasks.plan.catalog import by_machine
from humwatch.tasks.words import counted, some

_PLACE = ["site", "machine_type", "machine_id"]


def suspicions(recordings: pd.DataFrame, history: pd.DataFrame) -> list[tuple[Machine, str]]:
    """Return what is doubtful of machines because recordings have the same samples as others, with numbers.

    Recordings left out as REPEATED, and apart from them test recordings that are copies of training recordings;
    recordings labelled normal whose samples are labelled abnormal too; and samples that several machines have, not
    those of several conditions.

    Args:
        recordings: those that are asked about.
        history: rows of `humwatch.tasks.plan.catalog.History`, of which they are.
    """
    fit = history["reason"].isna() | history["reason"].eq(Reason.REPEATED)
    alike = history[fit & history["sound_hash"].isin(recordings["sound_hash"].dropna())]
    owners = alike[["sound_hash", *_PLACE]].drop_duplicates()
    owners = owners[owners["sound_hash"].duplicated(keep=False)]
    told = []
    for machine, own in by_machine(alike).items():
        is_copied = own["sound_hash"].isin(own["sound_hash"][own["split"].eq("train")])
        is_leak = is_copied & own["split"].eq("test")
        if again := int((own["reason"].eq(Reason.REPEATED) & ~is_leak).sum()):
            alike_are = f"{counted(again, 'recording')} left out with the samples of another"
            told.append((machine, f"{alike_are}: a sensor fault (a stuck recorder), or copies"))
        if leaked := int(is_leak.sum()):
            told.append((machine, f"{leaked} test recordings are copies of training recordings, a leak: left out"))
        normal, abnormal = (set(own["sound_hash"][own["label"].eq(label)]) for label in ("normal", "abnormal"))
        if contradictory := int(own["sound_hash"].isin(normal & abnormal).sum()):
            told.append((machine, f"{contradictory} recordings have the same samples and different labels"))
        others = owners[owners["sound_hash"].isin(own["sound_hash"])]
        names = sorted({one.label for one in by_machine(others.assign(condition=None))})
        if names:
            name = Machine(machine.machine_type, machine.machine_id, machine.site).label
            n_shared = int(own["sound_hash"].isin(others["sound_hash"]).sum())
            others_named = some([one for one in names if one != name])
            told.append((machine, f"{n_shared} recordings have the same samples as recordings of {others_named}"))
    return told
