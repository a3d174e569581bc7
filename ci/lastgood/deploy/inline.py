"""Puts `migration_resource.py` into bootstrap.yml, inline: `python -m lastgood.deploy.inline` in a checkout."""

from __future__ import annotations

import re
import textwrap

from lastgood import bundle

_BLOCK = re.compile(r"(?P<head>(?P<indent> +)ZipFile: \|\n)(?:(?P=indent) {2}.*\n|\n)+")


def render(template: str, source: str) -> str:
    """The template with `source` as the function's code. Raises ValueError where the template has no place for it."""
    found = _BLOCK.search(template)
    if found is None:
        raise ValueError(
            "bootstrap.yml has no `ZipFile: |` block: restore it, then run python -m lastgood.deploy.inline"
        )
    code = textwrap.indent(source.rstrip("\n") + "\n", found["indent"] + "  ", lambda line: bool(line.strip()))
    return f"{template[: found.start()]}{found['head']}{code}\n{template[found.end() :]}"


def main() -> None:
    """Rewrites the bundle's bootstrap.yml in place."""
    template = bundle.path("cloudformation/bootstrap.yml")
    source = bundle.path("cloudformation/migration_resource.py")
    template.write_text(
        render(template.read_text(encoding="utf-8"), source.read_text(encoding="utf-8")), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
