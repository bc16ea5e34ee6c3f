"""Where in time and frequency a recording departs from normal, as its model hears it.

Where do I go to...?
  reference.py   what normal looks like: cells of a machine's training recordings
  relevance.py   the method: a map of what drove a score, and the area of it that a page marks
  explain.py     maps of some scored recordings of a lake
"""
