"""Hourly sums of rows; docs/rollups.md.

Always holds: sums equal a recount of the current rows.

Not promised: sums that are not of whole numbers.

keeper   hears publications and adds differences
sums     what rows add
tables   tables and views of rollups
recount  sums held against the rows
"""
