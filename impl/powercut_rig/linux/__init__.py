"""The rig on this kernel: FUSE recorder behind a loop device (root)."""
