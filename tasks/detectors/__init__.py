"""Stage 4: one model of normality for each machine, with a threshold of a stated false-alarm rate."""
