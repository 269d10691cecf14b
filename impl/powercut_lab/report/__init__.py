"""The report: one page and one Markdown file, from rows alone."""
