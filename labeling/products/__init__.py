"""What is made of rows: samples, rollups, markers of complete hours, health, offline tables.

Always holds: all of it but the offline tables is made in the transaction that publishes the rows,
by adding what changed; so it is exact wherever the rows come from, and after any crash.

Not promised: that it is made for rows published before a product was declared; see each module.

attach     who listens to a store that is written
offline    hours as Parquet, written by a process of their own
moved      published changes as rows that went and rows that came
rollups    hourly sums; rollup_sums, rollup_tables
health     what was known of labels, and when; health_counts, health_metrics
recount    all of it held against what is there; rollup_recount
"""
