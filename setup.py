"""What pyproject.toml cannot say: a wheel has a copy of the rules and of the reference.

They stay where people look for them, `workflow/` and `reference/`; `dstcl.shipped` finds either.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("reference", "workflow")


class BuildWithWorkflow(build_py):
    """Modules, and beside them `dstcl/bundled`; an editable installation has the checkout."""

    def run(self) -> None:
        """Copy modules, then what is shipped."""
        super().run()
        if not self.editable_mode:
            for name in SHIPPED:
                target = Path(self.build_lib, "dstcl", "bundled", name)
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(name, target, ignore=shutil.ignore_patterns("demo-remote.sh"))


setup(cmdclass={"build_py": BuildWithWorkflow})
