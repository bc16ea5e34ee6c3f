"""The top floor: wiring. Settings and presets, the cluster, the flows, the command line."""
