"""Stage 7: what people read: one page and the tables beside it."""
