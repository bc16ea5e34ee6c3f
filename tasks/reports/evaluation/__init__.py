"""The page of an evaluation, everything a run found out in one file, and the page of a benchmark."""
