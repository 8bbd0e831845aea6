"""Claims as data: what reference/claims.yaml may say, checked before anything is tested.

A claim names cells by their axes and says what is claimed of them; docs/claims.md explains the
kinds with an example each. A claim of a kind that exists is a few lines of YAML and no code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from dstcl.evaluation.claim_kinds import KINDS, AnyClaim, Claim
from dstcl.storage import read_yaml
from dstcl.study.models import Model


class ClaimsError(ValueError):
    """A claims file that cannot be used; the message is one line that names file and key."""


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
