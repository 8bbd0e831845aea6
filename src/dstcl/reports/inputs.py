"""What a study's claims and its page are made of, checked before hours are spent.

Parsing a Snakefile imports this module, so it imports neither pandas nor matplotlib.
"""

from __future__ import annotations

from pathlib import Path

from dstcl.evaluation.claims import load_claims


def check_inputs(reference: Path, *templates: Path) -> None:
    """Refuse claims, the paper's numbers or templates that could not be used after training.

    Args:
        reference: folder with claims.yaml and paper/.
        templates: of the pages.

    Raises:
        ValueError: one line that names the file and what is wrong in it.
    """
    load_claims(reference / "claims.yaml")
    for path in (reference / "paper" / name for name in ("curves.csv", "tables.csv")):
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
    for template in templates:
        check_template(template)


def check_template(template: Path) -> None:
    """Read a template and those that it includes.

    Raises:
        ValueError: naming the file; it is missing or its syntax is wrong.
    """
    from jinja2 import Environment, TemplateSyntaxError, meta

    environment = Environment(autoescape=True)
    waiting, seen = [template], {template}
    while waiting:
        path = waiting.pop()
        try:
            tree = environment.parse(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: cannot be read ({error})") from None
        except TemplateSyntaxError as error:
            raise ValueError(f"{path}: line {error.lineno}: {error.message}") from None
        for name in meta.find_referenced_templates(tree):
            if name and (found := template.parent / name) not in seen:
                seen.add(found)
                waiting.append(found)
