"""The statuses that a command exits with."""

DONE, FAILED, BAD_USAGE, TOO_MANY_REJECTED, NOTHING_ARRIVED = 0, 1, 2, 3, 4
