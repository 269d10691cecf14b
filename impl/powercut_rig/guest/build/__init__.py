"""What the guest is made of: packages, kernel, initramfs, Python."""
