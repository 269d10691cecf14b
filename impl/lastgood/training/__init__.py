"""For the training loop: when to save, when to stop."""
