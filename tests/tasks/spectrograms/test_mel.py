"""librosa can be imported where it may write nowhere."""

import os
import subprocess
import sys

import pytest

CODE = """
import os
real = os.access
os.access = lambda path, mode, **options: False if mode == os.W_OK else real(path, mode, **options)
from humwatch.tasks.settings import SpectrogramSettings
from humwatch.tasks.spectrograms.mel import mel_filters
print(mel_filters(SpectrogramSettings()).shape, os.path.isdir(os.environ["NUMBA_CACHE_DIR"]))
"""


@pytest.mark.slow
def test_the_filters_are_had_without_a_folder_to_write_to():
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout.split("\n")[0] == "(64, 513) True"
