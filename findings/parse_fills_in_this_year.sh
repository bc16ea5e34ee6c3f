#!/usr/bin/env bash
# The library `parse`, asked for a date by strptime codes without a year, answers with a full date: it fills in the year
# in which it is run (strptime itself says 1900). A folder `03-05` of an archive of 2019 is this year's, and next year's.
# What Humwatch does about it: tests/tasks/ingest/test_layout.py (a template with a month and a day needs a year)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check parse==1.22.4
cd "$folder"
venv/bin/python - <<'PYTHON'
from datetime import datetime

import parse

print("parse", parse.__version__)
(by_strptime, by_parse) = datetime.strptime("03-05 01:02", "%m-%d %H:%M"), parse.parse("{t:%m-%d %H:%M}", "03-05 01:02")["t"]
print("strptime:", by_strptime, "parse:", by_parse)
assert by_strptime.year == 1900
assert by_parse == by_strptime.replace(year=datetime.now().year)
PYTHON
