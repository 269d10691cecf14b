"""The format on disk: names, manifest, metadata, chunks, digests. Pure."""
