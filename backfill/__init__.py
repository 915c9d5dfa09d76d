"""Replay: rows of archived hours, by the stream's own ``evaluate``, published by the hour."""
