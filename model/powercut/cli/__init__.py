"""The `powercut` commands."""
