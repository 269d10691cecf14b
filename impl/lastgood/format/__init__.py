"""What lies on the disk: names, manifest, metadata, chunks, digests. Pure."""
