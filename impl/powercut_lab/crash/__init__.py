"""Crash injection: at the paper's points, at every call, in the model, and on real disks."""
