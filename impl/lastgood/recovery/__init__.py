"""Find the newest valid group, hand it out, quarantine what was rejected."""
