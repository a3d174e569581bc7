"""All that a build is made of, found once: the commit's files aside, every step of a build takes its part of this and not the project."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from lastgood.config.project import BUILDS, ImageSettings, Project
from lastgood.debian import chosen
from lastgood.image import choices, trim
from lastgood.image.application import Application
from lastgood.image.before import Before
from lastgood.image.dependencies import Dependencies
from lastgood.image.installed import Installed
from lastgood.image.runtime import Runtime
from lastgood.platform import native
from lastgood.python.compiling import Compiler


@dataclass(frozen=True)
class Materials:
    """`image` is the project's `[tool.lastgood.image]`."""

    image: ImageSettings
    application: Application
    installed: Installed
    before: Before

    @classmethod
    def of(cls, project: Project) -> Materials:
        """The materials of a project. Raises UsageError where its Debian lock is missing, damaged or stale."""
        stages = chosen.stages(project.root, project.image)
        compiler = Compiler(stages, project.root / BUILDS)
        installed = Installed(project.root / project.lock.file, Runtime.of(stages, project.image), compiler)
        before = Before(project.root, project.image.before_static, project.image.before_static_makes)
        return cls(project.image, Application.of(project), installed, before)

    @property
    def runtime(self) -> Runtime:
        """The root file system that the image runs on."""
        return self.installed.runtime

    @functools.cached_property
    def dependencies(self) -> Dependencies:
        """What ships of the dependencies. The first time it installs them where they are missing: the project is read with their help."""
        return Dependencies(self.installed, self._choice())

    def _choice(self) -> trim.Choices:
        """What of the data stays, by the configuration and by reading the project."""
        here, python, image = native(), self.runtime.contained, self.image
        tree, name, facts = self.installed.tree(here), self.installed.key(here), self.installed.facts(here)
        known, named = choices.known_services(tree), frozenset(facts["services"])
        static = image.static
        if static is None:
            collected = choices.static_collected(self.application, python, tree, name, facts["finders"])
            static = "contrib" if collected else "all"
        return trim.Choices(
            services=choices.services(self.application.folder, image.aws_services, known, named),
            languages=choices.languages(self.application, python, tree, name, image.languages),
            static=static,
            sources=image.sources,
            keep=tuple(sorted(image.keep)),
        )
