"""From tables to published pages.

task.py          the stage: assemble, render, publish, leave artifacts
assemble.py      what goes into a report: tables, notes, pictures, sound
clips.py         which recordings can be heard, and how they are packed
page_rows.py     rows of the pages from tables
html.py          what all pages share; templates/ has the pages
report_index.py  the page that leads to every report
evaluation/      the page of an evaluation, and of a benchmark
night/           the pages of a night: fleet, machines, mail
svg/             charts and spectrograms
"""
