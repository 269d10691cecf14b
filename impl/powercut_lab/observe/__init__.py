"""One save seen layer by layer: its steps, its system calls, and what reaches the disk."""
