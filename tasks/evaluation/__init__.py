"""Stage 6: how well scores tell abnormal from normal, and how sure that is."""
