"""The experiment on latency: each save timed alone, in process and phase by phase, on each disk."""
