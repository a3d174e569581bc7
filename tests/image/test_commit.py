"""A build is made from one commit, and its name says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lastgood.errors import Refused, UsageError
from lastgood.image import commit

DATES = {"GIT_AUTHOR_DATE": "2026-01-02T03:04:05+01:00", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05+01:00"}


def git(folder: Path, *arguments: str) -> str:
    """Runs git as somebody, at a time that does not move."""
    identity = {
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@b.c",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@b.c",
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
        | identity
        | DATES,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    git(tmp_path, "init", "-q")
    (tmp_path / "file.txt").write_text("one\n", encoding="utf-8")
    (tmp_path / ".gitignore").write_text("ignored\n", encoding="utf-8")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_a_clean_commit(repository: Path) -> None:
    sha = git(repository, "rev-parse", "HEAD")
    (repository / "ignored").touch()
    assert commit.read(repository, allow_dirty=False) == commit.Commit(
        sha, sha[:12], sha[:12], "2026-01-02T02:04:05Z", ""
    )


def test_the_version_is_what_tags_say(repository: Path) -> None:
    git(repository, "tag", "v1.2")
    assert commit.read(repository, allow_dirty=False).version == "v1.2"
    git(repository, "commit", "-qm", "two", "--allow-empty")
    sha = git(repository, "rev-parse", "HEAD")
    assert commit.read(repository, allow_dirty=False).version == f"v1.2-1-g{sha[:12]}"


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("https://forge.example/a/b.git", "https://forge.example/a/b.git"),
        ("https://token@forge.example/a/b.git", ""),
        ("git@forge.example:a/b.git", ""),
    ],
)
def test_the_source_never_holds_a_password(repository: Path, remote: str, source: str) -> None:
    git(repository, "remote", "add", "origin", remote)
    assert commit.read(repository, allow_dirty=False).source == source


@pytest.mark.parametrize(("name", "count"), [("file.txt", 1), ("new.txt", 1)])
def test_changes_are_refused(repository: Path, name: str, count: int) -> None:
    (repository / name).write_text("changed\n", encoding="utf-8")
    with pytest.raises(Refused) as caught:
        commit.read(repository, allow_dirty=False)
    assert caught.value.exit_status == 1
    assert str(caught.value) == (
        f"{repository} has changes that are not committed ({name}, {count} in all): commit them, or build with --allow-dirty"
    )


def test_changes_outside_the_project_do_not_count(repository: Path) -> None:
    (repository / "project").mkdir()
    (repository / "project/x").touch()
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "project")
    (repository / "file.txt").write_text("changed\n", encoding="utf-8")
    assert "-dirty-" not in commit.read(repository / "project", allow_dirty=False).build


def test_the_name_of_a_dirty_build_is_its_content(repository: Path) -> None:
    names = []
    for text in ("one\n", "two\n", "three\n", "two\n"):
        (repository / "file.txt").write_text(text, encoding="utf-8")
        names.append(commit.read(repository, allow_dirty=True).build)
    sha = git(repository, "rev-parse", "HEAD")[:12]
    assert names[0] == sha
    assert all(name.startswith(f"{sha}-dirty-") and len(name) == 12 + 7 + 8 for name in names[1:])
    assert names[1] == names[3] != names[2]


def test_new_files_count_by_their_content(repository: Path) -> None:
    names = []
    for text in ("one", "two", "one"):
        (repository / "new.txt").write_text(text, encoding="utf-8")
        names.append(commit.read(repository, allow_dirty=True).build)
    assert names[0] == names[2] != names[1]


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        commit.read(tmp_path, allow_dirty=True)
    assert str(caught.value) == (
        f"{tmp_path} is not in a git repository with a commit (fatal: not a git repository (or any of the parent directories): "
        ".git): a build is made from one commit; commit, then build"
    )


def test_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(UsageError) as caught:
        commit.read(tmp_path, allow_dirty=True)
    assert str(caught.value) == (
        f"{tmp_path} is not in a git repository with a commit (fatal: ambiguous argument 'HEAD': unknown revision or path not in the "
        "working tree.): a build is made from one commit; commit, then build"
    )


def test_no_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError) as caught:
        commit.read(repository, allow_dirty=False)
    assert str(caught.value) == "git is not installed: a build is named by its commit; install git"


def test_a_folder_that_looks_like_a_bare_repository_brings_no_program(repository: Path) -> None:
    """Its configuration is a committed file, and names a program that git would start to see what has changed."""
    bare = repository / "web"
    for name in ("objects", "refs"):
        (bare / name).mkdir(parents=True)
        (bare / name / "keep").touch()
    (bare / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    ran = repository.parent / f"{repository.name}-ran"
    (bare / "config").write_text(
        f"[core]\nrepositoryformatversion = 0\nbare = false\nworktree = ..\nfsmonitor = touch {ran}; false\n",
        encoding="utf-8",
    )
    with pytest.raises(UsageError) as caught:
        commit.files(bare)
    assert "safe.bareRepository is 'explicit'" in str(caught.value)
    with pytest.raises(UsageError):
        commit.read(bare, allow_dirty=True)
    assert not ran.exists()
    git(bare, "status", "--porcelain=v2")
    assert ran.exists(), "the trap works"


def vendored(repository: Path) -> Path:
    """A repository whose folder `vendor` is a submodule, with one of its own; all is checked out."""
    inner, middle = repository / "inner", repository / "middle"
    for folder, name in ((inner, "deep.py"), (middle, "near.py")):
        folder.mkdir()
        git(folder, "init", "-q")
        (folder / name).touch()
        (folder / ".gitignore").write_text("made\n", encoding="utf-8")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "one")
    always = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add")
    git(middle, *always, str(inner), "more")
    git(middle, "commit", "-qm", "two")
    whole = repository / "whole"
    whole.mkdir()
    git(whole, "init", "-q")
    git(whole, *always, str(middle), "vendor")
    git(whole / "vendor", "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", "--recursive")
    git(whole, "commit", "-qm", "one")
    return whole


def test_the_files_of_submodules_are_the_projects(repository: Path) -> None:
    whole = vendored(repository)
    (whole / "vendor/made").touch()
    (whole / "vendor/more/made").touch()
    inside = (
        "vendor/.gitignore",
        "vendor/.gitmodules",
        "vendor/more/.gitignore",
        "vendor/more/deep.py",
        "vendor/near.py",
    )
    assert commit.files(whole) == [".gitmodules", *inside]
    assert commit.files(whole / "vendor") == [name.removeprefix("vendor/") for name in inside]
    assert commit.read(whole, allow_dirty=False).build == git(whole, "rev-parse", "HEAD")[:12]
    git(whole, "config", "submodule.vendor.ignore", "all")
    names = set()
    for number in ("1", "2"):
        (whole / "vendor/more/deep.py").write_text(number, encoding="utf-8")
        with pytest.raises(Refused, match="has changes that are not committed \\(vendor, 1 in all\\)"):
            commit.read(whole, allow_dirty=False)
        names.add(commit.read(whole, allow_dirty=True).build)
    assert len(names) == 2, "what is changed inside counts"


def test_a_submodule_that_is_not_checked_out(repository: Path) -> None:
    git(vendored(repository), "submodule", "--quiet", "deinit", "--force", "vendor")
    with pytest.raises(UsageError) as caught:
        commit.files(repository / "whole")
    assert str(caught.value) == (
        "whole/vendor is a submodule that is not checked out: run `git submodule update --init --recursive` (in the workflows, "
        "`submodules: recursive`), or remove it"
    )


@pytest.mark.parametrize("how", ["assume-unchanged", "skip-worktree"])
def test_what_git_does_not_look_at_is_not_taken_for_the_commits(repository: Path, how: str) -> None:
    git(repository, "update-index", f"--{how}", "file.txt")
    (repository / "file.txt").write_text("another\n", encoding="utf-8")
    assert commit.read(repository, allow_dirty=False).build, "git says nothing of it"
    with pytest.raises(UsageError) as caught:
        commit.files(repository)
    assert str(caught.value) == (
        f"git was told not to look at {repository.name}/file.txt ({how}), so the build could be another than the commit's: run "
        f"`git update-index --no-{how} file.txt` there, or `git sparse-checkout disable`"
    )


def test_what_git_ignores(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.mo\nbuilt/\n__pycache__/\n*.pyc\n", encoding="utf-8")
    for name in ("a.mo", "built/x.css", "built/y.css", "__pycache__/x.pyc", "shop/__pycache__/x.pyc", "shop/b.mo"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).touch()
    assert commit.ignored(repository) == ["a.mo", "built/", "shop/"] or commit.ignored(repository) == [
        "a.mo",
        "built/",
        "shop/b.mo",
    ]
