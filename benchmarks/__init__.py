"""Figures of speed and memory, one file each: ``python -m benchmarks NAME``; see docs/performance.md.

Always holds: a benchmark prints one line of JSON, with machine, versions and parameters, and asserts
nothing: what is fast enough is for the reader to say.

Not promised: the same figures twice. Compare ratios within one run.
"""
