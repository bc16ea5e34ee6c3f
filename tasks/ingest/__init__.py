"""Stage 1: list sources, read names into rows, keep what is new as parts."""
