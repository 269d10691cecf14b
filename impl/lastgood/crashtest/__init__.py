"""Subjects for powercut: lastgood and the paper's protocol."""
