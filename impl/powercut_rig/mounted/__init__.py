"""Work on a mounted file system: run ops, read trees, swap images."""
