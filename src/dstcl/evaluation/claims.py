"""Claims as data: what reference/claims.yaml may say, checked before anything is tested.

A claim names cells by their axes and says what is claimed of them; docs/claims.md explains the
kinds with an example each. A claim of a kind that exists is a few lines of YAML and no code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from dstcl.evaluation.claim_cells import Axis, Blocks, Cells, Listed, merged, not_named
from dstcl.storage import read_yaml
from dstcl.study.presets import Model


class ClaimsError(ValueError):
    """A claims file that cannot be used; the message is one line that names file and key."""


class Claim(Model):
    """What all kinds share."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """Name in tables and figures."""
    statement: Annotated[str, Field(min_length=1)]
    """One sentence that can be true or false; effects above the boundary are in its favour."""
    source: Annotated[str, Field(min_length=1)]
    """Where the paper, or who else, says so."""
    only: Blocks = Blocks()
    """Blocks that the claim is about; without it, all."""
    note: str = ""
    """What a reader should know beside the verdict."""

    def selections(self) -> dict[str, list[dict[str, list[Any]]]]:
        """Each set of cells that the claim compares, complete with the axes of ``where``."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _cells_are_named(self) -> Claim:
        """So that the claim is about the same cells in every study."""
        for key, found in self.selections().items():
            for axes in found:
                if missing := not_named(axes):
                    raise ValueError(
                        f"{key}: says nothing of {missing[0]}; name it here or in where"
                    )
        return self


class Difference(Claim):
    """``this`` is larger than ``that`` by more than ``more_than``; without ``that``, by itself.

    Several ``that`` must each be beaten.
    """

    kind: Literal["difference"]
    measure: Literal[
        "acc", "learning_accuracy", "forgetting", "used_fraction", "drop", "used_after"
    ] = "acc"
    """A column of summary.csv; or ``drop``: accuracy on tasks up to ``after_task``, each measured
    when it was learned, minus that on later ones; or ``used_after``: share of the weights that
    tasks up to ``after_task`` use."""
    after_task: Annotated[int, Field(ge=1)] | None = None
    """For ``drop`` and ``used_after``."""
    where: Cells = Cells()
    this: Cells
    that: Listed[Cells] = Field(default_factory=list)
    more_than: float = 0.0
    """Boundary, in units of the measure; negative: at most so much worse."""

    def selections(self) -> dict[str, list[dict[str, list[Any]]]]:
        """``this`` and every ``that``."""
        return {"this": [merged(self.where, self.this)]} | (
            {"that": [merged(self.where, that) for that in self.that]} if self.that else {}
        )

    @model_validator(mode="after")
    def _after_task_where_needed(self) -> Difference:
        derived = self.measure in ("drop", "used_after")
        if derived != (self.after_task is not None):
            need = "needs" if derived else "has no use for"
            raise ValueError(f"measure: {self.measure} {need} after_task")
        return self


class Spread(Claim):
    """``this`` varies less over the values of an axis than ``that`` (standard deviations)."""

    kind: Literal["spread"]
    over: Axis
    where: Cells = Cells()
    this: Cells
    that: Cells
    more_than: float = 0.0
    """By how much less it varies at least, in units of ACC."""

    def selections(self) -> dict[str, list[dict[str, list[Any]]]]:
        """``this`` and ``that``."""
        return {"this": [merged(self.where, self.this)], "that": [merged(self.where, self.that)]}

    @model_validator(mode="after")
    def _something_to_vary(self) -> Spread:
        for key, (axes,) in self.selections().items():
            if len(axes.get(self.over, [])) < 2:
                raise ValueError(f"{key}: a spread over {self.over} needs two values of it")
        return self


class Contrast(Claim):
    """The difference ``this`` - ``that`` is larger ``here`` than ``there``."""

    kind: Literal["contrast"]
    where: Cells = Cells()
    this: Cells
    that: Cells
    here: Cells
    there: Cells
    more_than: float = 0.0
    """By how much at least, in units of ACC."""

    def selections(self) -> dict[str, list[dict[str, list[Any]]]]:
        """The four sets of cells."""
        return {
            f"{side} {place}": [merged(self.where, getattr(self, side), getattr(self, place))]
            for place in ("here", "there")
            for side in ("this", "that")
        }


class Interaction(Claim):
    """Differences between the values of one axis depend on other axes."""

    kind: Literal["interaction"]
    of: Axis
    depends_on: Annotated[list[Axis], Field(min_length=1)]
    where: Cells
    more_than: Annotated[float, Field(ge=0)] = 0.0
    """A smaller interaction (root mean square, in units of ACC) counts as none."""

    def selections(self) -> dict[str, list[dict[str, list[Any]]]]:
        """All cells."""
        return {"where": [merged(self.where)]}

    @model_validator(mode="after")
    def _a_table_of_two_sides(self) -> Interaction:
        axes = self.selections()["where"][0]
        if self.of in self.depends_on:
            raise ValueError(f"depends_on: {self.of} cannot depend on itself")
        sides = [[self.of], self.depends_on]
        for side in sides:
            if all(len(axes.get(axis, [])) < 2 for axis in side):
                raise ValueError(f"where: an interaction needs two values of {' or '.join(side)}")
        return self


class Unchanged(Claim):
    """The accuracy on a finished task never changes, to the last bit, in any run of these cells."""

    kind: Literal["unchanged"]
    where: Cells = Cells()
    """Without axes: every run of the block."""

    def selections(self) -> dict[str, list[dict[str, list[Any]]]]:
        """Nothing that must be named: all cells that there are."""
        return {}


AnyClaim = Difference | Spread | Contrast | Interaction | Unchanged


class Claims(Model):
    """The whole of claims.yaml."""

    claims: Annotated[list[Annotated[AnyClaim, Field(discriminator="kind")]], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Claims:
        names = [claim.id for claim in self.claims]
        if repeated := [name for index, name in enumerate(names) if name in names[:index]]:
            raise ValueError(f"id: {repeated[0]!r} twice")
        return self


def load_claims(path: Path) -> list[AnyClaim]:
    """Read and check a claims file.

    Raises:
        ClaimsError: the file is missing, not YAML, or says something that cannot be tested; one
            line that names the file, the claim and the key.
    """
    try:
        values = read_yaml(path)
    except ValueError as error:
        raise ClaimsError(str(error)) from None
    try:
        return list(Claims.model_validate(values).claims)
    except ValidationError as error:
        raise ClaimsError(f"{path}: {_one_line(error, values)}") from None


KINDS: dict[str, type[Claim]] = {
    "difference": Difference,
    "spread": Spread,
    "contrast": Contrast,
    "interaction": Interaction,
    "unchanged": Unchanged,
}


def _one_line(error: ValidationError, values: Any) -> str:
    """The first problem: which claim by its id, which key, what is wrong with it."""
    first = error.errors(include_url=False)[0]
    place = [part for part in first["loc"] if part not in KINDS]
    name, kind = "", None
    if len(place) > 1 and isinstance(place[1], int):
        claim = values["claims"][place[1]]
        claim = claim if isinstance(claim, dict) else {}
        name, kind = f"claim {claim.get('id') or place[1] + 1}: ", KINDS.get(str(claim.get("kind")))
        place = place[2:]
    key = ".".join(str(part) for part in place)
    return name + " ".join(_problem(first, key, kind).split())


def _problem(first: Any, key: str, kind: type[Claim] | None) -> str:
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    match first["type"]:
        case "union_tag_invalid" | "union_tag_not_found":
            given = first["input"].get("kind", "missing")
            return f"kind: {given}; allowed: {', '.join(KINDS)}"
        case "extra_forbidden":
            known = kind.model_fields if kind and "." not in key else ()
            return f"{key}: unknown key" + (f"; allowed: {', '.join(known)}" if known else "")
        case "missing":
            return f"{key}: missing"
        case "model_type" | "model_attributes_type" if not key:
            return "a mapping is needed; docs/claims.md has examples"
        case "value_error":
            return f"{key}: {message}" if key else message
    return f"{key}: {first['input']!r} {message}"
