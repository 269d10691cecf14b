"""The parts of a guest: packages, kernel, initramfs, Python."""
