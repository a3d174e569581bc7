"""Puts the migration function, `migration_resource/*.py`, into bootstrap.yml, inline: `python -m lastgood.deploy.inline` in a checkout.

Inline, and not as a package on S3: a package needs a bucket and an upload before the stack that would make them, an update notices it only
by a new key, and a stack that rolls back needs the old object still there. Inline, the function is a part of the template: reviewed,
deployed and rolled back with it. The price is room. Lambda takes 4 MB, zipped (CloudFormation has no limit of 4,096 characters since 2022),
but a template that is sent without a bucket may have 51,200 bytes in all, which a test watches. So what explains the code stays behind:
docstrings, comments and types are left out, and a level of indentation is one space. It is still the code, not a packed one: who looks at
the template, at the function in the console or at a traceback reads what runs.

CloudFormation makes one file of what is inline, so the modules are joined into one. For that they import one another only by
`from .module import name` at the top, without `as`, and no two of them give one name at the top level to different things.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter

from lastgood import bundle

_BLOCK = re.compile(r"(?P<head>(?P<indent> +)ZipFile: \|\n)(?:(?P=indent) .*\n|\n)+")
_LEVELS = re.compile(r"^(?: {4})+", re.MULTILINE)
_EMPTY = re.compile(r"\n{2,}")
_HEAD = "# ci/cloudformation/migration_resource, joined by `python -m lastgood.deploy.inline`: there it is explained.\n"


def render(template: str, source: str) -> str:
    """The template with `source` as the function's code. Raises ValueError where the template has no place for it."""
    found = _BLOCK.search(template)
    if found is None:
        raise ValueError(
            "bootstrap.yml has no `ZipFile: |` block: restore it, then run python -m lastgood.deploy.inline"
        )
    code = textwrap.indent(source.rstrip("\n") + "\n", found["indent"] + " ", lambda line: bool(line.strip()))
    return f"{template[: found.start()]}{found['head']}{code}\n{template[found.end() :]}"


def embedded(template: str) -> str:
    """The function's code as the template has it; empty where it has none."""
    found = _BLOCK.search(template)
    return textwrap.dedent(found[0].partition("\n")[2]).rstrip("\n") + "\n" if found else ""


def source() -> str:
    """The function as one module, of the bundle's files."""
    folder = bundle.path("cloudformation/migration_resource")
    return joined({path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))})


def joined(modules: Mapping[str, str]) -> str:
    """One module of several (name → text): all imports, and then each module after those that it uses.

    Raises ValueError, with module and line, for what would not be the same in one module.
    """
    trees = {name: ast.parse(text) for name, text in modules.items() if name != "__init__"}
    uses = {name: list(_used(name, tree, trees)) for name, tree in trees.items()}
    owners: dict[str, str] = {}
    for module, tree in trees.items():
        for name in _names(module, tree):
            if name in owners:
                raise ValueError(f"{name} is of {owners[name]}.py and of {module}.py: give one of them another name")
            owners[name] = module
    order = TopologicalSorter(uses).static_order()
    return _HEAD + _imports(trees) + "".join(_section(name, trees[name]) for name in order)


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
    return "\n".join([*standard, *others, ""])


def _section(name: str, tree: ast.Module) -> str:
    """A module's code below its name, without what only explains it."""
    kept = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom) and not _is_text(node)]
    code = ast.unparse(_Bare().visit(ast.Module(kept, [])))
    return (
        f"# --- {name}.py ---\n" + _LEVELS.sub(lambda found: " " * (len(found[0]) // 4), _EMPTY.sub("\n", code)) + "\n"
    )


class _Bare(ast.NodeTransformer):
    """Code without docstrings and types."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        node.body = [one for one in node.body if not _is_text(one)] or [ast.Pass()]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = [one for one in node.body if not _is_text(one)] or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return ast.copy_location(ast.Assign([node.target], node.value), node) if node.value else None


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def main() -> None:
    """Rewrites the bundle's bootstrap.yml in place."""
    template = bundle.path("cloudformation/bootstrap.yml")
    template.write_text(render(template.read_text(encoding="utf-8"), source()), encoding="utf-8")


if __name__ == "__main__":
    main()
