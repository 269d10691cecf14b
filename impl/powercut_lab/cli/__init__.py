"""The command that the lab adds to `powercut`."""
