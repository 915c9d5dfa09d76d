"""Markers of complete hours, and who is told of them; docs/markers.md.

Always holds: a marker is in the commit that makes its hour complete, settled or published anew.

Not promised: that who is told was told once only.

keeper    hears publications and writes digests and markers
row_hash  a row as a number
digests   what the rows of an hour sum up to
settling  hours that the stream changes no more
rows      markers as JSON
awaiting  what `labeling wait` waits for
hooks     commands and webhooks
notify    telling them, with a note of how far
"""
