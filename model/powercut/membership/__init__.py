"""The inverse question: can this observed tree be a crash state of this program?."""
