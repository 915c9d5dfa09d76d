"""Samples told in the formats that trainers want; docs/sample-formats.md.

Always holds: a topic says what the view of its format says.

Not promised: that every step between two commits is told; only ``changes`` does.

topics    hears publications and stages records
records   what is told in each format
moved     rows of a format before and after a commit
encoding  records as JSON or Arrow
"""
