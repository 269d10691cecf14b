"""What needs PyTorch. Not part of the default suite: `make test-torch` runs it."""
