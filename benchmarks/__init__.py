"""Figures of speed and memory: ``python -m benchmarks NAME``; docs/performance.md explains them.

Always holds: a benchmark is one file and prints one line of JSON, with machine, versions and
parameters; it asserts nothing: what is fast enough is for the reader to say.

Not promised: the same figures twice. Compare ratios within one run.
"""
