"""The migrations of published packages, release by release, there and back again: right, or refused with nothing changed.

The packages are installed with pip, as this machine has it configured, into .lastgood/histories, one folder a release.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from . import fleet as fleets
from .fleet import Contents, Fleet, Worker, contents, emptied, refused_untouched, travel
from .histories import Tree

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]

FOLDER = fleets.REPOSITORY / ".lastgood" / "histories"
CONTRIB = ("auth", "sessions", "sites", "admin", "redirects", "flatpages")
AUTH = ("django.contrib.auth", "django.contrib.sessions")
WAGTAIL = (
    *(
        "contrib.redirects",
        "contrib.search_promotions",
        "contrib.forms",
        "embeds",
        "sites",
        "users",
        "snippets",
        "documents",
    ),
    *("images", "search", "admin", ""),
)
PACKAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "django-oauth-toolkit": (
        ("1.7.1", "2.0.0", "2.1.0", "2.2.0", "2.3.0", "2.4.0", "3.0.1", "3.1.0", "3.2.0", "3.3.0", "3.4.1"),
        (*AUTH, "oauth2_provider"),
    ),
    "django-celery-beat": (
        ("2.0.0", "2.1.0", "2.2.1", "2.3.0", "2.4.0", "2.5.0", "2.6.0", "2.7.0", "2.8.1", "2.9.0"),
        (*AUTH, "django_celery_beat"),
    ),
    "wagtail": (
        ("6.3.8", "6.4.2", "7.0.10", "7.1.3", "7.2.3", "7.3.4", "7.4.4"),
        (*AUTH, *(f"wagtail.{name}".rstrip(".") for name in WAGTAIL), "taggit", "modelcluster"),
    ),
}


def pip(folder: Path, *requirements: str) -> None:
    """Install into `folder`, once."""
    if (folder / "done").exists():
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(folder), *requirements]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"pip can't install {' '.join(requirements)}: {done.stderr[-2000:]}"
    (folder / "done").touch()


def releases(package: str, versions: Iterable[str]) -> dict[str, list[Path]]:
    """Return the folders that a process needs to import each release: its own, then what the newest depends on."""
    shared = FOLDER / package / "shared"
    versions = tuple(versions)
    # Django is the tests' own: what pip brings along comes last on the path.
    pip(shared, f"{package}=={versions[-1]}", *(["setuptools<81"] if package == "django-celery-beat" else []))
    folders = {version: FOLDER / package / version for version in versions}
    for version, folder in folders.items():
        pip(folder, "--no-deps", f"{package}=={version}")
    return {version: [folder, shared] for version, folder in folders.items()}


def builds(
    fleet: Fleet, database: Any, folder: Path, apps: Mapping[str, tuple[str, ...]], paths: Mapping[str, list[Path]]
) -> dict[str, Worker]:
    """Return a worker for each release whose migrations load at all with this Django."""
    found = {}
    for name, installed in apps.items():
        fleets.write(folder / name, Tree(), *installed)
        worker = fleet.build(folder / name, name, database.django)
        django = str(Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages")
        worker.environment["PYTHONPATH"] += "".join(f":{path}" for path in paths.get(name, []) if str(path) != django)
        worker.environment["PYTHONWARNINGS"] = "ignore"
        answer = worker.ask({"arguments": ["manifest"]})
        if answer and answer["exit_status"] == 0:
            found[name] = worker
        else:
            print(f"{name} does not load: {answer['stderr'].strip() if answer else 'see the log'}"[:300])
    return found


def there_and_back(workers: Mapping[str, Worker], database: Any) -> dict[str, int]:
    """Go up through all builds, down through all, and from each end to each; return how often what came of it."""
    fresh: dict[str, Contents] = {}
    for name, worker in workers.items():
        emptied(database.connection)
        answer = worker.migrate()
        if answer.exit_status:
            print(f"{name} does not migrate with what is installed: {answer.stderr}")
            continue
        fresh[name] = contents(database.connection)
    emptied(database.connection)
    names = list(fresh)
    assert len(names) >= 3
    walk = [*names, *names[-2::-1]]
    for name in names[1:-1]:
        walk += [names[-1], name, names[0], name]
    counts = {"right": 0, "noted": 0, "refused": 0}
    for name in walk:
        before = contents(database.connection)
        journey = travel(workers, name, "--accept-loss")
        after = contents(database.connection)
        if journey.status in ("done", "nothing"):
            if after.schema == fresh[name].schema:
                counts["right"] += 1
                continue
            # A release may have changed a file that an earlier one had applied already; the run says so, and can do no more.
            assert "note: the file of" in journey.story, f"{name}\n{journey.story}"
            print(f"to {name}: {sorted(after.schema ^ fresh[name].schema)}")
            counts["noted"] += 1
        else:
            assert refused_untouched(journey), f"{name}\n{journey.story}"
            assert after == before, name
            print(f"to {name}: {journey.reason}")
            counts["refused"] += 1
    return counts


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package(fleet: Fleet, database: Any, tmp_path: Path, package: str) -> None:
    versions, apps = PACKAGES[package]
    workers = builds(fleet, database, tmp_path, dict.fromkeys(versions, apps), releases(package, versions))
    assert len(workers) >= 3
    counts = there_and_back(workers, database)
    fleet.close_workers()
    print(f"{package}, {len(workers)} releases: {counts}")
    assert counts["right"] > counts["refused"] + counts["noted"]


def test_contrib(fleet: Fleet, database: Any, tmp_path: Path) -> None:
    """All migrations of django.contrib: each app is a build more."""
    apps = {f"{n}-apps": tuple(f"django.contrib.{app}" for app in CONTRIB[:n]) for n in range(len(CONTRIB) + 1)}
    workers = builds(fleet, database, tmp_path, apps, {})
    assert len(workers) == len(apps)
    counts = there_and_back(workers, database)
    fleet.close_workers()
    assert counts["refused"] == counts["noted"] == 0
