"""One disk, one subject, one oracle, moved forward op by op."""
