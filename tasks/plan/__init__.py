"""What should be in a lake under given settings and scope, what it is called, what of it is there, what is missing.

Stages execute what is missing here, `status` counts it, `nightly` chooses nights by it, a backfill's dry run prints it,
and `prune` is the inventory of the lake minus it. So a new stage or key is one place.

Where do I go to ...
    know what a run is given: lake, settings, scope, keys      run.py
    name a thing by the settings that shape it                 keys.py
    read what a setting asks for: representations, models      representations.py, variants.py
    know what the lake knows of each recording                 catalog.py, history.py
        read of a part the few columns that takes              part_rows.py
        have other nights as counts, carried on                tallies.py
        whether it is fit to be scored                         verdicts.py
        what people say of it                                  labels.py, actions.py, times.py
        which of them a run is about                           scope.py
        whether it trains or is judged                         roles.py, split.py
    know what should exist, and the name of it
        spectrograms, features                                 stores.py
        models                                                 training.py
        score tables                                           scores.py
        judged nights                                          night_tables.py
        evaluations                                            evaluations.py
    know what of it is there, and what is missing              presence.py
    count what recordings wait for                             waiting.py
    say why nothing could be scored, and what to type          next_step.py
    choose the nights of a run without a date                  open_nights.py
        know what night it is, and how old the newest          tonight.py
        say that nothing arrived of a night                    absent_night.py
    know what must stay in the lake                            retention.py
"""
