"""The command line `humwatch`.

app.py         the commands of single stages, demo and weights; the others are added here
fleet.py       nightly, backfill, retrain, rollback;  fleet_tables.py: what they came to
alarms.py      alarms: what people did about them
operators.py   status, doctor, prune, labels, simulate
inspect.py     what is understood of sources;  inspection_view.py: how it is shown
benchmark.py   export.py   serve.py
options.py     the options that commands share
answers.py     how a command runs, what it prints, its exit status
console.py     progress and tables on a terminal
"""
