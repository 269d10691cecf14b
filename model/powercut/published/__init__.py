"""Crash-consistency cases from the literature, held against the profiles."""
