"""Corruption injection: which layer of a checkpoint notices damage, and what it misses alone."""
