"""The legal crash states: torn writes, constraints from rules, downsets, one crash enumerated."""
