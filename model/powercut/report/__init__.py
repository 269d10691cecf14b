"""Pictures for people: timelines of programs and disks, drawn as SVG and written as CSV.

Values in, text out: the standard library alone, no file, no clock.
"""
