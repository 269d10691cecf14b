"""Block logs and crash images as values. No I/O."""
