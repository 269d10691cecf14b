"""One running guest: QEMU, its monitor, the agent, the wire format."""
