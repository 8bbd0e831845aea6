"""dstcl: continual learning with dynamic sparse training, as published and corrected."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
CORE = (
    "DynamicSparseTraining",
    "SparseTraining",
    "criterion",
    "export",
    "register_growth",
    "register_init",
    "register_prune",
)
__all__ = ["__version__", "load_run", *CORE]


def __getattr__(name: str) -> Any:
    """Load what needs torch on first use: reading a configuration must not import it."""
    if name in CORE:
        import dstcl.sparse

        return getattr(dstcl.sparse, name)
    if name == "load_run":
        from dstcl.jobs.loaded import load_run

        return load_run
    raise AttributeError(f"module 'dstcl' has no attribute {name!r}")
