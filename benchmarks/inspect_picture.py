"""Make docs/images/inspect.svg, what `humwatch inspect` says of a made-up plant.

The same library versions make the same picture.
"""

from __future__ import annotations

import io
import re
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console

from humwatch.flows.cli.inspection_view import parts
from humwatch.flows.operations.inspecting import inspect_sources
from humwatch.flows.presets import load

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "inspect.svg"
WIDTH = 132
MACHINES = {"line1/pump_03": 16_000, "line1/press_1": 16_000, "line2/pump_03": 16_000, "line2/saw_7": 8_000}


def write_plant(folder: Path) -> None:
    """Write four machines of two lines, sixteen nights, one recorder with another sample rate, and what is no sound."""
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * 16_000).astype(np.float32)
    for machine, rate_hz in MACHINES.items():
        for night in range(1, 17):
            for hour in (1, 2):
                file = folder / machine / f"2026/11/{night:02d}" / f"2026-11-{night:02d}T0{hour}-00-00.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(file, noise[: 3 * rate_hz], rate_hz)
    soundfile.write(folder / "line1" / "press_1" / "2099-01-01.wav", noise, 16_000)
    (folder / "line2" / "october.7z").write_bytes(b"")


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as temporary:
        plant = Path(temporary) / "sound"
        write_plant(plant)
        found, _ = inspect_sources([str(plant)], load(), 100, date(2026, 11, 30))
        console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
        for part in parts(found):
            console.print(part)
    picture = console.export_svg(title="humwatch inspect /data/sound", unique_id="inspect")
    # A page without a network: whatever monospaced font there is.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))


if __name__ == "__main__":
    main()
