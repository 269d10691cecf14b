"""Verdicts on a protocol, one file per search strategy."""
