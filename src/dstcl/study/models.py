"""What the types of params.yaml have in common: strict classes, names, and lists of values."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from dstcl.data.catalog import DATASETS
from dstcl.study.fields import BuiltInOr


class Model(BaseModel):
    """Strict, closed and immutable: no unknown keys, no text where a number is meant."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
    )


def distinct(values: list[Any]) -> list[Any]:
    """The values, as they are.

    Raises:
        ValueError: a value is there twice; the message names it.
    """
    names = [str(value) for value in values]
    repeated = [name for index, name in enumerate(names) if name in names[:index]]
    if repeated:
        raise ValueError(f"each value once; repeated: {', '.join(repeated)}")
    return values


INITS = ("uniform", "uniform_dense_first", "er", "erk")
# Of a data set, as part of file names; other names than these are those of the user's own sets.
PATTERN = r"^[a-z][a-z0-9]{0,99}$"
NAMES: dict[str, Any] = {"pattern": PATTERN, "examples": list(DATASETS)}
T = TypeVar("T")
Axis = Annotated[list[T], Field(min_length=1), AfterValidator(distinct)]
Init = Annotated[str, BuiltInOr(INITS)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
# Becomes the name of a folder.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Parts = Annotated[
    list[Name],
    # On a command line a single name needs no brackets.
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    AfterValidator(distinct),
]
Density = Annotated[float, Field(gt=0, le=1)]
