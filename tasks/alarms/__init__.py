"""Between scores and reports: what they say of each machine and night, evidence over nights, a state, an alarm.

Where do I go to ...
    make one number of a night's recordings               night_scores.py
    compare a night with a machine's normal nights        reference_nights.py
    see how such comparisons fall on normal nights        null.py
    add evidence over nights, raise and clear             chart.py
    find the level for a stated rate                      rates.py, levels.py; fleet_levels.py
    take a fleet through its nights                       replay.py
    judge the sensor                                      sensors.py
    gather a night's facts before it is judged            facts.py
    make rows of facts and verdicts                       fleet_nights.py, judge.py
    publish standing alarms with a report                 alarm_list.py
"""
