"""The kinds of claims: what a claim of each may say of cells, measures and boundaries.

docs/claims.md explains them with an example each; `dstcl.evaluation.claims` reads the file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dstcl.evaluation.claim_cells import Axis, Blocks, Cells, Listed, merged, not_named
from dstcl.study.models import Model

Task = Annotated[int, Field(ge=1)]
Selected = dict[str, list[dict[str, list[Any]]]]
"""Values by axis, for each set of cells, by the key of the claim that names it."""
OF_TASKS = ("late_minus_early", "used_after", "narrow_used_after")
"""Measures that need ``after_task``."""


class Claim(Model):
    """What all kinds share."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """Name in tables and figures."""
    group: Annotated[int, Field(ge=1, le=8)] | None = None
    """Which of the paper's eight groups of claims it belongs to (docs/claims.md lists them)."""
    statement: Annotated[str, Field(min_length=1)]
    """One sentence that can be true or false; effects above the boundary are in its favour."""
    source: Annotated[str, Field(min_length=1)]
    """Where the paper, or who else, says so."""
    only: Blocks = Blocks()
    """Blocks that the claim is about; without it, all."""
    not_for: Blocks = Blocks()
    """Blocks that the claim is not about; without it, none."""
    note: str = ""
    """What a reader should know beside the verdict."""
    paper_says_otherwise: str = ""
    """Where the paper's own data or text contradict the claim, with numbers."""

    def selections(self) -> Selected:
        """Each set of cells that the claim compares, complete with the axes of ``where``."""
        raise NotImplementedError

    def lacks(self, block: dict[str, Any]) -> str:
        """Why the claim says nothing of a block; empty if it does."""
        return self.only.lacks(block) or self.not_for.holds(block)

    def needs(self, tasks: int) -> int:
        """How many of the tasks must have been learned for the claim to be tested."""
        return tasks

    @model_validator(mode="after")
    def _cells_are_named(self) -> Claim:
        """So that the claim is about the same cells in every study."""
        for key, found in self.selections().items():
            for axes in found:
                if missing := not_named(axes):
                    raise ValueError(f"{key}: does not name {missing[0]}; name it here or in where")
        return self

    @model_validator(mode="after")
    def _not_for_restricts_blocks(self) -> Claim:
        if setting := next(iter(self.not_for.settings()), ""):
            raise ValueError(f"not_for: {setting}: only the axes of a block can be left out")
        return self


class AccuracyClaim(Claim):
    """A claim about ACC: over all tasks after the last one, or over the first few."""

    after: Task | None = None
    """ACC over the first so many tasks, after the last of them was learned."""

    def needs(self, tasks: int) -> int:
        """The tasks of ``after``, else all."""
        return self.after or tasks


class Difference(AccuracyClaim):
    """``this`` is larger than ``that`` by more than ``more_than``; without ``that``, by itself.

    Several ``that`` must each be beaten.
    """

    kind: Literal["difference"]
    measure: Literal[
        "acc",
        "learning_accuracy",
        "forgetting",
        "used_fraction",
        "late_minus_early",
        "used_after",
        "narrow_used_after",
    ] = "acc"
    """A column of summary.csv, or one of `OF_TASKS` (`dstcl.evaluation.claim_measures`)."""
    after_task: Task | None = None
    """For measures of `OF_TASKS`."""
    where: Cells = Cells()
    this: Cells
    that: Listed[Cells] = Field(default_factory=list)
    more_than: float = 0.0
    """Boundary, in units of the measure; negative: at most so much worse."""

    def selections(self) -> Selected:
        """``this`` and every ``that``."""
        return {"this": [merged(self.where, self.this)]} | (
            {"that": [merged(self.where, that) for that in self.that]} if self.that else {}
        )

    def needs(self, tasks: int) -> int:
        """Up to ``after_task`` for used weights; for a comparison with later tasks all of them."""
        if self.measure == "late_minus_early" and self.after_task:
            return max(tasks, self.after_task + 1)
        return self.after_task or super().needs(tasks)

    @model_validator(mode="after")
    def _tasks_where_needed(self) -> Difference:
        if (self.measure in OF_TASKS) != (self.after_task is not None):
            need = "needs" if self.measure in OF_TASKS else "has no use for"
            raise ValueError(f"measure: {self.measure} {need} after_task")
        if self.after and self.measure != "acc":
            raise ValueError(f"measure: {self.measure} has no use for after")
        return self


class Alike(AccuracyClaim):
    """``this`` and ``that`` differ by less than ``within``, in either direction."""

    kind: Literal["alike"]
    where: Cells = Cells()
    this: Cells
    that: Cells
    within: Annotated[float, Field(gt=0)]
    """In units of ACC."""

    @property
    def more_than(self) -> float:
        """The boundary of the effect, which is minus the size of the difference."""
        return -self.within

    def selections(self) -> Selected:
        """``this`` and ``that``."""
        return {"this": [merged(self.where, self.this)], "that": [merged(self.where, self.that)]}


class Spread(AccuracyClaim):
    """``this`` varies less over the values of an axis than ``that`` (standard deviations).

    Without ``this``: ``that`` varies by more than ``more_than``.
    """

    kind: Literal["spread"]
    over: Axis
    where: Cells = Cells()
    this: Cells | None = None
    that: Cells
    more_than: float = 0.0
    """By how much at least, in units of ACC."""

    def selections(self) -> Selected:
        """``this``, if there is one, and ``that``."""
        this = {"this": [merged(self.where, self.this)]} if self.this else {}
        return this | {"that": [merged(self.where, self.that)]}

    @model_validator(mode="after")
    def _something_to_vary(self) -> Spread:
        for key, (axes,) in self.selections().items():
            if len(axes.get(self.over, [])) < 2:
                raise ValueError(f"{key}: a spread over {self.over} needs two values of it")
        return self


class Contrast(AccuracyClaim):
    """The difference ``this`` - ``that`` is larger ``here`` than ``there``."""

    kind: Literal["contrast"]
    where: Cells = Cells()
    this: Cells
    that: Cells
    here: Cells
    there: Cells
    more_than: float = 0.0
    """By how much at least, in units of ACC."""

    def selections(self) -> Selected:
        """The four sets of cells."""
        return {
            f"{side} {place}": [merged(self.where, getattr(self, side), getattr(self, place))]
            for place in ("here", "there")
            for side in ("this", "that")
        }


class Interaction(AccuracyClaim):
    """Differences between the values of one axis depend on other axes."""

    kind: Literal["interaction"]
    of: Axis
    depends_on: Annotated[list[Axis], Field(min_length=1)]
    where: Cells
    more_than: Annotated[float, Field(ge=0)] = 0.0
    """A smaller interaction (root mean square, in units of ACC) counts as none."""

    def selections(self) -> Selected:
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


class Saturation(Claim):
    """Up to ``after_task`` tasks are learned as well as the first, later ones clearly worse.

    Both are measured from the first half of the tasks up to ``after_task``, each task when it was
    learned: the other half has lost less than ``more_than``, the later tasks have lost more.
    """

    kind: Literal["saturation"]
    where: Cells = Cells()
    this: Cells
    that: Cells | None = None
    """Cells with room left, whose losses are taken off: they say how hard the tasks are."""
    after_task: Task
    more_than: Annotated[float, Field(gt=0)] = 0.1
    """What counts as clearly worse, in units of accuracy."""

    def selections(self) -> Selected:
        """``this``, and ``that`` if there is one."""
        that = {"that": [merged(self.where, self.that)]} if self.that else {}
        return {"this": [merged(self.where, self.this)]} | that

    def needs(self, tasks: int) -> int:
        """One task beyond ``after_task``."""
        return self.after_task + 1


class Unchanged(Claim):
    """The accuracy on a finished task never changes, to the last bit, in any run of these cells."""

    kind: Literal["unchanged"]
    where: Cells = Cells()
    """Without axes: every run of the block."""

    def selections(self) -> Selected:
        """Nothing that must be named: all cells that there are."""
        return {}

    def needs(self, tasks: int) -> int:
        """Any: a prefix of the tasks can be forgotten too."""
        return 1


class Untestable(Claim):
    """Something that the paper says and no table of a study can test."""

    kind: Literal["untestable"]
    why: Annotated[str, Field(min_length=1)]
    """What would have to be measured."""

    def selections(self) -> Selected:
        """No cells."""
        return {}

    def needs(self, tasks: int) -> int:
        """Nothing."""
        return 1


AnyClaim = (
    Difference | Alike | Spread | Contrast | Interaction | Saturation | Unchanged | Untestable
)
KINDS: dict[str, type[Claim]] = {
    "difference": Difference,
    "alike": Alike,
    "spread": Spread,
    "contrast": Contrast,
    "interaction": Interaction,
    "saturation": Saturation,
    "unchanged": Unchanged,
    "untestable": Untestable,
}
