"""Policies, which choose the groups to keep, and pruning, which gives up the others."""
