"""The bytes of one part: written, read back and verified."""
