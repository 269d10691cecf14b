"""A small virtual machine whose kernel has the file system: no root and no KVM needed."""
