"""Many recordings: compare, soak, coverage, disk litmus, random programs."""
