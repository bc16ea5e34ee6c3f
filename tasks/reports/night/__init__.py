"""The pages of a night: the fleet, one page a machine, one file to mail."""
