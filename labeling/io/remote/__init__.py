"""The store of a process that serves it, used from another.

live      the file that says who serves a store
client    requests to it
parcel    frames and values on the way
database  questions
recorder  a commit, recorded
store     the whole; ``open_store`` finds it or opens the file
"""

from labeling.io.remote.store import RemoteStore, open_store

__all__ = ["RemoteStore", "open_store"]
