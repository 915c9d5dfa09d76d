"""The command line, one file per command: the composition root, and the only place that prints."""
