"""What was known of labels, and when; docs/health.md.

Always holds: counts move with every publication, in its transaction.

Not promised: counts of rows published before there were any.

keeper   hears publications; the brake
counts   what changes add to what was known at each delay
metrics  the latest complete hours, for Prometheus
"""
