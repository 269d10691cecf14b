"""One crash image against the model: membership, recovery, oracle, verdict."""
