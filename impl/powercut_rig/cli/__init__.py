"""The commands that the rig adds to `powercut`."""
