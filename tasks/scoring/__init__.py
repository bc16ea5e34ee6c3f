"""Stage 5: scores and decisions for every recording of a machine that has a model."""
