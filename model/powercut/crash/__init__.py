"""Which crash states are legal: tearing, constraints from rules, downsets, one crash enumerated."""
