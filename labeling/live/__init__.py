"""The live flow's stages, each a plain object; ``labeling.flow`` strings them together.

items     what moves between the stages
feed      a source read and decoded        gather    all sources of a process
ahead     the next round, read meanwhile   split     a batch into parts by shard
shard     a shard's memory and positions   archiver  the file of what was taken in
writer    one commit                       outbox    topics written after it
resume    where a run begins               memory    a shard's memory read back
books     positions and watermarks kept    reach     how far back events matter
wiring    a configuration into pieces      patience  waiting for what is outside
board     what the flow tells of itself
"""
