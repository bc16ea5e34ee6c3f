"""Looks into a lake without a run: what state it is in, whether this machine is fit for one, what can go."""
