"""Replay: rows of archived hours, by the same ``evaluate`` as the stream's, published hour by hour."""
