"""Training runs that another project's tester kills in the middle of their saves: `make chaos`."""
