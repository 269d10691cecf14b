"""Coverage-guided fuzzing of all that reads a store: see README.md here."""
