"""What is made of rows: samples, rollups, markers of complete hours, health, offline tables.

Always holds: all of it but the offline tables is made in the transaction that publishes the rows,
by adding what changed; so it is exact wherever the rows come from, and after any crash.

Not promised: that it is made for rows published before a product was declared; see each module.

attach    who listens to a store that is written
context   what they know of the world
moved     published changes as rows that went and rows that came
renewal   hours whose rows were dropped and come again
recount   all of it held against what is there

samples, formats, features, markers, rollups, health, offline: one folder each
"""
