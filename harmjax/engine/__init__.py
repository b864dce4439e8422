"""How a model travels: one local update, who is visited when, a cycle, and what its log keeps.

Written against `types.Federation` alone, so that the same text runs in memory, over a disk and
over a network.
"""
