"""Puts the migration function, `migration_resource/*.py`, into bootstrap.yml, inline: `python -m lastgood.deploy.inline` in a checkout.

Inline, and not as a package on S3: a package needs a bucket and an upload before the stack that would make them, an update notices it only
by a new key, and a stack that rolls back needs the old object still there. Inline, the function is a part of the template: reviewed,
deployed and rolled back with it. The price is room. Lambda takes 4 MB, zipped (CloudFormation has no limit of 4,096 characters since 2022),
but a template that is sent without a bucket may have 51,200 bytes in all, which a test watches.

CloudFormation makes one file of what is inline, so the modules are joined into one that reads like any other. For that they import one
another only by `from .module import name` at the top, without `as`, and no two of them give one name at the top level to different things.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter

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


def source() -> str:
    """The function as one module, of the bundle's files."""
    folder = bundle.path("cloudformation/migration_resource")
    return joined({path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))})


def joined(modules: Mapping[str, str]) -> str:
    """One module of several (name → text): the docstring of `__init__`, all imports, and each after those that it uses.

    Raises ValueError, with module and line, for what would not be the same in one module.
    """
    trees = {name: ast.parse(text) for name, text in modules.items()}
    documented = ast.get_docstring(trees.pop("__init__"), clean=False) or ""
    uses = {name: list(_used(name, tree, trees)) for name, tree in trees.items()}
    owners: dict[str, str] = {}
    for module, tree in trees.items():
        for name in _names(module, tree):
            if name in owners:
                raise ValueError(f"{name} is of {owners[name]}.py and of {module}.py: give one of them another name")
            owners[name] = module
    head = f'"""{documented}"""\n\nfrom __future__ import annotations\n\n{_imports(trees)}'
    return head + "\n".join(
        _section(name, modules[name], trees[name]) for name in TopologicalSorter(uses).static_order()
    )


def _used(module: str, tree: ast.Module, trees: Mapping[str, ast.Module]) -> Iterator[str]:
    """The modules that this one uses, in the order of their names."""
    top = {id(node) for node in tree.body}
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        other = node.module or ""
        names = set(_names(other, trees[other])) if other in trees else set()
        if id(node) not in top or any(alias.asname or alias.name not in names for alias in node.names):
            raise ValueError(
                f"{module}.py:{node.lineno}: write `from .module import name` at the top, of a name that the module defines"
            )
        found.add(other)
    yield from sorted(found)


def _names(module: str, tree: ast.Module) -> Iterator[str]:
    """The names that a module gives to its own functions, classes and constants."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))
        elif not isinstance(node, ast.Import | ast.ImportFrom) and not _is_text(node):
            raise ValueError(
                f"{module}.py:{node.lineno}: only imports, constants, functions and classes stand at the top"
            )


def _imports(trees: Mapping[str, ast.Module]) -> str:
    """What the modules import from elsewhere, sorted: the standard library, then the rest."""
    whole: set[str] = set()
    named: dict[str, set[str]] = {}
    for tree in trees.values():
        for node in tree.body:
            if isinstance(node, ast.Import):
                whole |= {ast.unparse(alias) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module != "__future__":
                named.setdefault(str(node.module), set()).update(ast.unparse(alias) for alias in node.names)
    lines = [(name, f"import {name}") for name in sorted(whole)]
    lines += [(name, f"from {name} import {', '.join(sorted(named[name]))}") for name in sorted(named)]
    standard = [line for name, line in lines if name.split(".")[0] in sys.stdlib_module_names]
    others = [line for name, line in lines if name.split(".")[0] not in sys.stdlib_module_names]
    return "\n".join([*standard, "", *others, ""])


def _section(name: str, text: str, tree: ast.Module) -> str:
    """A module's text below its name; its docstring is a comment, and its imports are elsewhere."""
    heading = [
        node.end_lineno or 0 for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node)
    ]
    about = textwrap.indent(ast.get_docstring(tree) or "", "# ", lambda line: True)
    code = "\n".join(text.splitlines()[max(heading, default=0) :]).rstrip("\n")
    return f"\n# --- {name}.py ---\n{about}\n{code}\n"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def main() -> None:
    """Rewrites the bundle's bootstrap.yml in place."""
    template = bundle.path("cloudformation/bootstrap.yml")
    template.write_text(render(template.read_text(encoding="utf-8"), source()), encoding="utf-8")


if __name__ == "__main__":
    main()
