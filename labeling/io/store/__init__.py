"""The store; see ``store.py``. One concept per file.

schema     the tables and their columns
database   the DuckDB file: opening, locking, frames in and out
question   what a question may be
turns      one commit at a time
store      what the rest of the program holds
commit     one numbered transaction
listener   who hears what commits publish
ownership  whose an hour of a rule is: the stream's or replay's
repairs    how far repairs have come
publish    changes into a rule's table
lookup     what is stored of keys, hours, files
views      current and final rows for people
retention  dropping old days
snapshot   a copy for other tools
"""

from labeling.io.store.commit import Commit, Counts
from labeling.io.store.publish import Published
from labeling.io.store.store import Store

__all__ = ["Commit", "Counts", "Published", "Store"]
