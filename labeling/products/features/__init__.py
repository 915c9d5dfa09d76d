"""Features as they lie on disk, found by request and item.

Always holds: what is found is the first that was served in the range asked for, whatever files it
is in.

Not promised: that files are there without a lease.

files   finds features of rows
index   which file holds which request
keys    the key columns of recent files, in bounded memory
"""
