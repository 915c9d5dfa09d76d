"""The slow twin: the meaning of rules and of the stream in dicts and loops, without Polars.

Always holds: written from ``docs/semantics.md`` and the design alone; nothing here imports the
engine, and rules are read as values only.

Not promised: speed. Everything is looked for again wherever it is needed.
"""
