"""Linux system calls, worker processes, deadlines."""
