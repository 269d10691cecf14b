"""Questions about the profile `apfs` that a Mac can answer."""
