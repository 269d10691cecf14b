"""The lease holder: validates, saves, recovers, prunes, repairs."""
