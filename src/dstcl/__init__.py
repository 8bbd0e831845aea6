"""dstcl: continual learning with dynamic sparse training, as published and corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dstcl import sparse as sparse
    from dstcl.jobs.loaded import load_run
    from dstcl.sparse import (
        DynamicSparseTraining,
        GradualMagnitudePruning,
        SparseTraining,
        criterion,
        export,
        register_growth,
        register_init,
        register_prune,
    )

__version__ = "0.1.0"
CORE = (
    "DynamicSparseTraining",
    "GradualMagnitudePruning",
    "SparseTraining",
    "criterion",
    "export",
    "register_growth",
    "register_init",
    "register_prune",
)
__all__ = [
    "DynamicSparseTraining",
    "GradualMagnitudePruning",
    "SparseTraining",
    "__version__",
    "criterion",
    "export",
    "load_run",
    "register_growth",
    "register_init",
    "register_prune",
]


if not TYPE_CHECKING:  # so that type checkers find names that do not exist

    def __getattr__(name: str) -> Any:
        """Load what needs torch on first use: reading a configuration must not import it."""
        if name in CORE or name == "sparse":
            import dstcl.sparse

            return dstcl.sparse if name == "sparse" else getattr(dstcl.sparse, name)
        if name == "load_run":
            from dstcl.jobs.loaded import load_run

            return load_run
        raise AttributeError(f"module 'dstcl' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is loaded on first use, too."""
    return sorted({*globals(), *__all__, "sparse"})
