"""Sparse training inside other frameworks' trainers, one module each.

`dstcl.sparse.integrations.lightning`, `.transformers` and `.accelerate` import their framework, and
nothing else of dstcl imports them.
"""
