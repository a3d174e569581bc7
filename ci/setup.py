"""Puts the parts of the bundle that live beside the tool (templates, Dockerfile, migrator, base lock) into the wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


class BuildWithBundle(build_py):
    """`build_py`, and a copy of `docker/` and `ci/cloudformation/` as `lastgood/_bundle/`."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        bundle = Path(self.build_lib) / "lastgood" / "_bundle"
        for name, source in (("docker", HERE.parent / "docker"), ("cloudformation", HERE / "cloudformation")):
            shutil.copytree(
                source, bundle / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )


setup(cmdclass={"build_py": BuildWithBundle})
