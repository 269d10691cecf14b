"""Histories as files: read, write, replay, explain, litmus tests."""
