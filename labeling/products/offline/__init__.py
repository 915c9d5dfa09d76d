"""Complete hours as Parquet, written by a process of their own; docs/offline.md.

Always holds: a file is of one commit, whole or not there.

Not promised: that it is written the moment its hour is complete.

exporter  what is due, written
hours     local hours of UTC ones
plan      what is due
reading   rows of one commit, in parts
features  samples joined with their features
files     the tree: names, markers, whole or not at all
"""
