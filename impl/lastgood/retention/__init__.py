"""Which groups to keep (policies) and how to give up the others (prune)."""
