"""What a program asks of a file system, and what it sees: ops, inodes, events, immutable states."""
