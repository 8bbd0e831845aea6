"""What pyproject.toml cannot say: a wheel has a copy of rules, reference, params.yaml and citation.

They stay where people look for them, at the top; `dstcl.shipped` finds either. All of the reference
is in it, not the claims alone, so that a study is compared with the recorded one as in a checkout;
that makes a wheel of 0.5 MB one of 1.0 MB.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("reference", "workflow")
FILES = ("params.yaml", "CITATION.cff", "LICENSE")


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
            for name in FILES:
                shutil.copy(name, Path(self.build_lib, "dstcl", "bundled"))


setup(cmdclass={"build_py": BuildWithWorkflow})
