"""Random histories of builds: what teams do to migration files. No database, no Django; the files that it writes are Django's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import TopologicalSorter
from itertools import count
from typing import Any

from hypothesis import strategies as st
from migrator.manifest import Manifest, Migration
from migrator.manifest.squash import below, set_aside

MARK = "models.TextField()"  # the field by which the tests know a row
APPS = ("a", "s", "z")  # some before and some behind Django's own in the alphabet
TEMPLATE = """from django.contrib.postgres.operations import AddIndexConcurrently, CreateExtension
from django.db import migrations, models
from helpers import nothing, rows


class Migration(migrations.Migration):
    atomic = {atomic}
    replaces = {replaces}
    run_before = {run_before}
    dependencies = {dependencies}
    operations = [
{operations}
    ]
{edits}"""


SHARED = ("citext", "pg_trgm", "extra")  # what several migrations may make unless it is there: extensions, and a schema


@dataclass(frozen=True)
class Operation:
    """A line of a migration; `kind` is holds, changes, lossy, irreversible, data or shared."""

    text: str
    kind: str
    atomic: bool = True


@dataclass(frozen=True)
class File:
    """A migration file. Keys are "app.name"."""

    key: str
    needs: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()
    replaces: tuple[str, ...] = ()
    run_before: tuple[str, ...] = ()
    edits: int = 0

    @property
    def app(self) -> str:
        return self.key.split(".")[0]

    @property
    def atomic(self) -> bool:
        return all(operation.atomic for operation in self.operations)

    def kinds(self, kind: str) -> tuple[str, ...]:
        return tuple(operation.text for operation in self.operations if operation.kind == kind)

    @cached_property
    def text(self) -> str:
        """The file as Django reads it."""
        pairs = [[tuple(key.split(".")) for key in keys] for keys in (self.replaces, self.run_before, self.needs)]
        replaces, run_before, dependencies = pairs
        return TEMPLATE.format(
            atomic=self.atomic,
            replaces=replaces,
            run_before=run_before,
            dependencies=dependencies,
            operations="\n".join(f"        {operation.text}," for operation in self.operations),
            edits="# edited\n" * self.edits,
        )

    def __str__(self) -> str:
        said = [f"needs {', '.join(self.needs)}"] if self.needs else []
        said += [f"replaces {', '.join(self.replaces)}"] if self.replaces else []
        said += [f"run_before {', '.join(self.run_before)}"] if self.run_before else []
        said += [] if self.atomic else ["not atomic"]
        said += [f"edited {self.edits} times"] if self.edits else []
        what = "; ".join(operation.text for operation in self.operations) or "nothing"
        return f"{self.key} ({', '.join(said)}): {what}" if said else f"{self.key}: {what}"


@dataclass(frozen=True)
class Tree:
    """The migration files of one build, and the fields of its models: {"a.Item1": {"mark": "models.TextField()"}}."""

    files: Mapping[str, File] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()  # fields in indexes and constraints, models that other apps refer to

    @property
    def apps(self) -> list[str]:
        return sorted({file.app for file in self.files.values()})

    @cached_property
    def replaces(self) -> Mapping[str, tuple[str, ...]]:
        return {key: file.replaces for key, file in self.files.items() if file.replaces}

    @cached_property
    def atoms(self) -> frozenset[str]:
        return frozenset(self.files) - set_aside(self.files, self.replaces)

    def atom(self, key: str) -> str:
        """Return the atom that a dependency on `key` means."""
        if key in self.atoms:
            return key
        for squash in self.atoms & self.replaces.keys():
            if key in below(squash, self.replaces):
                return squash
        return self.atom(self.replaces[key][-1])

    @cached_property
    def parents(self) -> Mapping[str, frozenset[str]]:
        """What each atom depends on, by its file and by the `run_before` of others."""
        found = {key: {self.atom(need) for need in self.files[key].needs} - {key} for key in self.atoms}
        for key in self.atoms:
            for other in self.files[key].run_before:
                found[self.atom(other)].add(key)
        return {key: frozenset(parents) for key, parents in found.items()}

    def ancestors(self, keys: frozenset[str]) -> frozenset[str]:
        """Return what the atoms `keys` stand on, without themselves."""
        found: set[str] = set()
        waiting = list(keys)
        while waiting:
            new = self.parents[waiting.pop()] - found
            found |= new
            waiting.extend(new)
        return frozenset(found - keys)

    @cached_property
    def order(self) -> list[str]:
        """All files: atoms after what they depend on, the others behind what they replace."""
        order = list(TopologicalSorter({key: sorted(self.parents[key]) for key in sorted(self.atoms)}).static_order())
        for key in sorted(set(self.files) - self.atoms, key=lambda one: len(self.files[one].replaces)):
            order.insert(
                max([order.index(one) for one in self.files[key].replaces if one in order], default=0) + 1, key
            )
        return order

    def leaf(self, app: str) -> str:
        """Return the newest file of `app`, as makemigrations names it: the squashed one where it ends with one."""
        in_app = {key for key in self.atoms if key.startswith(f"{app}.")}
        (leaf,) = in_app - {parent for key in in_app for parent in self.parents[key]}
        while above := [key for key, replaces in self.replaces.items() if replaces[-1] == leaf and key in self.files]:
            leaf = above[0]
        return leaf

    def children(self, key: str) -> list[File]:
        return [file for file in self.files.values() if key in file.needs + file.run_before]

    def manifest(self, build: str) -> Manifest:
        """Return the manifest of a build with these files."""
        return Manifest(build, "5.2", tuple(self._migration(self.files[key]) for key in self.order))

    def _migration(self, file: File) -> Migration:
        app, name = file.key.split(".")
        return Migration(
            app,
            name,
            hashlib.sha256(file.text.encode()).hexdigest(),
            dependencies=tuple(sorted(self.parents[file.key] if file.key in self.atoms else file.needs)),
            replaces=file.replaces,
            atomic=file.atomic,
            irreversible=file.kinds("irreversible"),
            lossy=file.kinds("lossy"),
            holds=file.kinds("holds"),
        )

    def with_file(self, file: File) -> Tree:
        return replace(self, files={**self.files, file.key: file})

    def without(self, *keys: str) -> Tree:
        return replace(self, files={key: file for key, file in self.files.items() if key not in keys})


@dataclass(frozen=True)
class History:
    """Builds by name, in the order in which they were made."""

    trees: Mapping[str, Tree]

    def __repr__(self) -> str:
        """Return the builds as a readable list: what a failing example prints."""
        lines = []
        for build, tree in self.trees.items():
            lines.append(f"\nbuild {build}")
            lines += [f"    {tree.files[key]}" for key in tree.order]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # hypothesis asks for it
        printer.text(repr(self))

    @cached_property
    def manifests(self) -> Mapping[str, Manifest]:
        return {build: tree.manifest(build) for build, tree in self.trees.items()}


# --- What teams do: each takes `draw`, a tree and a fresh number, and returns the new tree, None where it does not fit ---

Draw = Callable[[Any], Any]
FIELDS = (
    "models.IntegerField(default=0)",
    "models.IntegerField(db_default=7)",
    "models.TextField(null=True)",
    "models.TextField(default='')",
)


def _choose(draw: Draw, options: Any) -> Any:
    found = sorted(options)
    return draw(st.sampled_from(found)) if found else None


def _add(tree: Tree, app: str, number: int, *operations: Operation, needs: tuple[str, ...] = ()) -> Tree:
    before = (tree.leaf(app),) if app in tree.apps else ()
    return tree.with_file(File(f"{app}.{number:04d}", (*before, *needs), operations))


def _with_model(tree: Tree, key: str, fields: Mapping[str, str] | None) -> Tree:
    models = {name: spec for name, spec in tree.models.items() if name != key}
    return replace(tree, models=models if fields is None else {**models, key: fields})


def new_model(draw: Draw, tree: Tree, number: int, app: str = "") -> Tree | None:
    """Give an app a model, which may refer to another app's."""
    app = app or _choose(draw, tree.apps)
    if not app:
        return None
    fields, needs, pinned = {"mark": MARK}, (), tree.pinned
    other = draw(st.sampled_from([None, *sorted(tree.models)]))
    if other:
        fields["other"] = f"models.ForeignKey('{other}', models.SET_NULL, null=True, related_name='+')"
        other_app = other.split(".")[0]
        if other_app != app:
            needs, pinned = (tree.leaf(other_app),), pinned | {other}
    specs = "".join(f", ('{name}', {spec})" for name, spec in fields.items())
    text = f"migrations.CreateModel('Item{number}', [('id', models.BigAutoField(primary_key=True)){specs}])"
    tree = _add(tree, app, number, Operation(text, "holds"), needs=needs)
    return replace(_with_model(tree, f"{app}.Item{number}", fields), pinned=pinned)


def new_app(draw: Draw, tree: Tree, number: int) -> Tree | None:
    free = [app for app in APPS if app not in tree.apps]
    return new_model(draw, tree, number, free[0]) if free else None


def add_field(draw: Draw, tree: Tree, number: int) -> Tree | None:
    if not (key := _choose(draw, tree.models)):
        return None
    app, model = key.split(".")
    spec = draw(st.sampled_from(FIELDS))
    tree = _add(tree, app, number, Operation(f"migrations.AddField('{model}', 'f{number}', {spec})", "holds"))
    return _with_model(tree, key, {**tree.models[key], f"f{number}": spec})


def _fields(tree: Tree) -> list[tuple[str, str]]:
    return [
        (key, name)
        for key, fields in tree.models.items()
        for name in fields
        if name.startswith("f") and f"{key}.{name}" not in tree.pinned
    ]


def change_field(draw: Draw, tree: Tree, number: int) -> Tree | None:
    """Rename, widen or remove a field, give it an index or a constraint."""
    if not (chosen := _choose(draw, _fields(tree))):
        return None
    (key, name), how = chosen, draw(st.sampled_from(["rename", "alter", "index", "concurrently", "unique", "remove"]))
    app, model = key.split(".")
    fields = dict(tree.models[key])
    spec, kind, atomic, pinned = fields.pop(name), "changes", True, tree.pinned
    if how == "rename":
        text, fields[f"f{number}"] = f"migrations.RenameField('{model}', '{name}', 'f{number}')", spec
    elif how == "alter":
        fields[name] = spec.replace("models.IntegerField", "models.BigIntegerField")
        text = f"migrations.AlterField('{model}', '{name}', {fields[name]})"
    elif how == "remove":
        text, kind = f"migrations.RemoveField('{model}', '{name}')", "lossy"
    else:
        fields[name], pinned = spec, pinned | {f"{key}.{name}"}
        if how == "unique":
            constraint = f"models.UniqueConstraint(fields=['mark', '{name}'], name='u{number}')"
            text = f"migrations.AddConstraint('{model}', {constraint})"
        else:
            atomic = how == "index"
            command = "migrations.AddIndex" if atomic else "AddIndexConcurrently"
            text = f"{command}('{model}', models.Index(fields=['{name}'], name='i{number}'))"
    tree = _add(tree, app, number, Operation(text, kind, atomic))
    return replace(_with_model(tree, key, fields), pinned=pinned)


def change_model(draw: Draw, tree: Tree, number: int) -> Tree | None:
    """Rename a model, or delete one that nothing refers to."""
    key = _choose(draw, tree.models.keys() - tree.pinned)
    if not key:
        return None
    app, model = key.split(".")
    refers = re.compile(rf"'{key}'")
    others = [name for name, fields in tree.models.items() if any(refers.search(spec) for spec in fields.values())]
    if draw(st.booleans()):
        new = f"{app}.Item{number}"
        text = f"migrations.RenameModel('{model}', 'Item{number}')"
        tree = _add(tree, app, number, Operation(text, "changes"))
        for name in others:
            fields = {one: refers.sub(f"'{new}'", spec) for one, spec in tree.models[name].items()}
            tree = _with_model(tree, name, fields)
        pinned = frozenset(re.sub(rf"^{key}\.", f"{new}.", one) for one in tree.pinned)
        fields = tree.models[key]
        return replace(_with_model(_with_model(tree, key, None), new, fields), pinned=pinned)
    if others:
        return None
    tree = _add(tree, app, number, Operation(f"migrations.DeleteModel('{model}')", "lossy"))
    return _with_model(tree, key, None)


def data(draw: Draw, tree: Tree, number: int) -> Tree | None:
    """Put a row, with a way back or, seldom, without."""
    if not (key := _choose(draw, tree.models)):
        return None
    app, model = key.split(".")
    if draw(st.integers(0, 9)) == 9:
        return _add(tree, app, number, Operation("migrations.RunPython(nothing)", "irreversible"))
    return _add(tree, app, number, Operation(f"migrations.RunPython(*rows('{app}', '{model}', 'd{number}'))", "data"))


def share(draw: Draw, tree: Tree, number: int) -> Tree | None:
    """Make something unless it is there, as other apps do, and perhaps an administrator has."""
    if not (app := _choose(draw, tree.apps)):
        return None
    name = draw(st.sampled_from(SHARED))
    text = f"CreateExtension('{name}')"
    if name == "extra":
        text = "migrations.RunSQL('CREATE SCHEMA IF NOT EXISTS extra', 'DROP SCHEMA IF EXISTS extra')"
    return _add(tree, app, number, Operation(text, "shared"))


def squash(draw: Draw, tree: Tree, number: int) -> Tree | None:
    """Squash the first files of an app, squashed ones included, and keep them."""
    app = _choose(draw, tree.apps)
    inside = {one for replaces in tree.replaces.values() for one in replaces}
    line = [key for key in tree.order if key.startswith(f"{app}.") and key not in inside]
    if len(line) < 2:
        return None
    chosen = tuple(line[: draw(st.integers(2, len(line)))])
    atoms = frozenset(atom for atom in tree.atoms for key in chosen if atom == key or atom in below(key, tree.replaces))
    outside = tree.ancestors(atoms)
    if any(tree.ancestors(frozenset((one,))) & atoms for one in outside):
        return None  # it would depend on what depends on it
    if any(tree.files[key].run_before for key in chosen):
        return None
    needs = dict.fromkeys(need for key in chosen for need in tree.files[key].needs if need.split(".")[0] != app)
    operations = tuple(operation for key in chosen for operation in tree.files[key].operations)
    return tree.with_file(File(f"{app}.{number:04d}_squashed", tuple(needs), operations, chosen))


def delete_originals(draw: Draw, tree: Tree, number: int) -> Tree | None:
    key = _choose(draw, tree.replaces)
    if not key or any(one in tree.replaces for one in tree.files if key in tree.files[one].replaces):
        return None
    gone = below(key, tree.replaces)
    unknown = gone - {*tree.replaces[key]}  # who still names these would not find them
    if any(unknown & {*file.needs, *file.run_before} for one, file in tree.files.items() if one not in gone):
        return None
    return tree.without(*gone)


def drop_replaces(draw: Draw, tree: Tree, number: int) -> Tree | None:
    """Make a squashed migration an ordinary one, after its originals are gone; who names them must name it."""
    key = _choose(draw, [one for one, replaces in tree.replaces.items() if not set(replaces) & tree.files.keys()])
    if not key:
        return None
    gone = below(key, tree.replaces)

    def named(keys: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key if one in gone else one for one in keys))

    files = {
        one: replace(file, needs=named(file.needs), run_before=named(file.run_before))
        for one, file in tree.files.items()
    }
    return replace(tree, files={**files, key: replace(files[key], replaces=())})


def run_before(draw: Draw, tree: Tree, number: int) -> Tree | None:
    """Put an empty migration before another app's newest one."""
    app, other = (_choose(draw, tree.apps) for _ in range(2))
    if not app or app == other:
        return None
    target = tree.leaf(other)
    if target not in tree.atoms or tree.atom(tree.leaf(app)) in {target} | _descendants(tree, target):
        return None
    return tree.with_file(File(f"{app}.{number:04d}", (tree.leaf(app),), (), run_before=(target,)))


def _descendants(tree: Tree, key: str) -> set[str]:
    return {one for one in tree.atoms if key in tree.ancestors(frozenset((one,)))}


def edit(draw: Draw, tree: Tree, number: int) -> Tree | None:
    key = _choose(draw, tree.files)
    return tree.with_file(replace(tree.files[key], edits=tree.files[key].edits + 1)) if key else None


def swap(draw: Draw, tree: Tree, number: int) -> Tree | None:
    """Turn the two newest files of an app round, where one does not need the other."""
    app = _choose(draw, tree.apps)
    last = tree.files[tree.leaf(app)] if app else None
    before = tree.files.get(last.needs[0]) if last and last.needs else None
    if not last or not before or before.app != app or not before.needs or before.needs[0].split(".")[0] != app:
        return None
    if len(tree.children(before.key)) != 1 or tree.children(last.key) or last.replaces or before.replaces:
        return None
    if any("AddField" not in operation.text for file in (last, before) for operation in file.operations):
        return None
    if before.run_before or last.run_before:
        return None
    tree = tree.with_file(replace(before, needs=(last.key, *before.needs[1:])))
    return tree.with_file(replace(last, needs=(before.needs[0], *last.needs[1:])))


def remove_app(draw: Draw, tree: Tree, number: int) -> Tree | None:
    """Take an app out that no other needs."""
    app = _choose(draw, tree.apps)
    others = [file for file in tree.files.values() if file.app != app]
    mine = [file for file in tree.files.values() if file.app == app]
    if not others or any(f"{app}." in need for file in others for need in file.needs + file.run_before):
        return None
    if any(file.run_before for file in mine):
        return None
    models = {key: fields for key, fields in tree.models.items() if not key.startswith(f"{app}.")}
    return replace(tree.without(*(file.key for file in mine)), models=models)


CHANGES = (
    *(add_field, add_field, new_model, new_app, data, change_field, change_model),
    *(squash, squash, squash, delete_originals, delete_originals, drop_replaces, drop_replaces),
    *(run_before, edit, swap, remove_app),
)


SHARING = (*CHANGES, share, share, share, share, share, share)


def merge(ours: Tree, theirs: Tree, number: int) -> Tree | None:
    """Return both branches with a merge migration for each app that needs one; only where they added and nothing else."""
    common = set(ours.files.keys() & theirs.files.keys())
    new = [file for tree in (ours, theirs) for key, file in tree.files.items() if key not in common]
    if any(ours.files[key] != theirs.files[key] for key in common):
        return None
    if any(file.replaces or file.run_before or file.kinds("changes") or file.kinds("lossy") for file in new):
        return None
    files = {**ours.files, **theirs.files}
    if any(need not in files for file in files.values() for need in file.needs):
        return None
    models = {
        key: {**ours.models.get(key, {}), **theirs.models.get(key, {})} for key in {**ours.models, **theirs.models}
    }
    tree = Tree(files, models, ours.pinned | theirs.pinned)
    for app in tree.apps:
        leaves = [one.leaf(app) for one in (ours, theirs) if app in one.apps]
        if len(set(leaves)) == 2 and not any(
            leaf in tree.ancestors(frozenset((tree.atom(o),))) for leaf, o in (leaves, leaves[::-1])
        ):
            tree = tree.with_file(File(f"{app}.{number:04d}_merge", tuple(sorted(leaves))))
    return tree


def nested(tree: Tree) -> bool:
    """Return whether a squashed migration replaces another that is there as such: Django takes that from 6.0 on."""
    return any(one in tree.replaces for replaces in tree.replaces.values() for one in replaces)


@st.composite
def histories(draw: Draw, builds: int = 5, changes: int = 3, nesting: bool = True, sharing: bool = False) -> History:
    """Draw builds, each made of an earlier one by up to `changes` changes, or of two by a merge."""
    kinds = SHARING if sharing else CHANGES
    first = new_model(draw, Tree(), 1, APPS[0])
    assert first
    trees = [first]
    numbers = count(2)
    for _ in range(builds - 1 - draw(st.integers(0, builds - 2))):
        # Mostly the newest build goes on; else a branch starts.
        tree = trees[max(0, len(trees) - 1 - draw(st.sampled_from([0, 0, 0, 1, 2])))]
        if draw(st.integers(0, 5)) == 5:
            tree = merge(tree, draw(st.sampled_from(trees)), next(numbers)) or tree
        for _ in range(draw(st.integers(1, changes))):
            for change in draw(st.lists(st.sampled_from(kinds), min_size=3, max_size=3)):
                changed = change(draw, tree, next(numbers))
                if changed and (nesting or not nested(changed)):
                    tree = changed
                    break
        if tree not in trees:
            trees.append(tree)
    return History({f"v{index}": tree for index, tree in enumerate(trees, 1)})


@st.composite
def walks(draw: Draw, history: st.SearchStrategy[History], steps: int = 4) -> tuple[History, tuple[str, ...]]:
    """Draw a history and the builds to go to, one after the other, each another than the one before."""
    drawn = draw(history)
    names = list(drawn.trees)
    stops = [draw(st.integers(0, len(names) - 1))]
    for _ in range(draw(st.integers(1, steps)) if len(names) > 1 else 0):
        stops.append((stops[-1] + draw(st.integers(1, len(names) - 1))) % len(names))
    return drawn, tuple(names[stop] for stop in stops)
