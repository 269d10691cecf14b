"""The `lastgood` commands."""
