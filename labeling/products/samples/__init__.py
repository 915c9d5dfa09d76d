"""Training samples made of label rows, and held against what they are made of.

Always holds: every sample is what clauses S1 to S12 of docs/samples.md make of its label row and of
the features on disk.

Not promised: that features are logged.

maker    hears publications and makes the samples of them
rows     which label rows are samples, and with what
derived  changes of samples from changes of label rows
late     features that came late
heal     hours that a replay published
books    hours, streams and watermarks of a sample are those of its label rule
recount  samples of an hour made again
unused   features that nothing was shown of
"""
