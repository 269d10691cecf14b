"""The volatile file system, as a program uses it: ops, inodes, events, immutable states."""
