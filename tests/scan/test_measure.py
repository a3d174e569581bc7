"""The scan: what a build weighs, what must not be in it, and the command."""

from __future__ import annotations

import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from lastgood import cli
from lastgood.config.project import Budget
from lastgood.image.built import Image
from lastgood.report import scan as report
from lastgood.scan import contents, measure

PACKAGES = "usr/local/lib/python3.13/dist-packages"
FOLDER = {"type": tarfile.DIRTYPE}


def findings(image: Image, **options: Any) -> list[tuple[str, str, str]]:
    """(rule, subject, the whole sentence)."""
    facts = measure.scan(image, 10**6, measure.Options(**options))
    return [(one["rule"], one["subject"], f"{one['text']}: {one['do']}") for one in facts["findings"]]


def test_a_build_that_is_right(plant: Any) -> None:
    image = plant(
        base={"usr": FOLDER, "tmp": FOLDER | {"mode": 0o1777}, "usr/bin/python3.13": {"mode": 0o755}},
        app={"app/sh/bash": b"x"},
    )
    facts = measure.scan(image, 10**6)
    json.dumps(facts)
    base, app = image.layers
    assert facts["layers"] == [
        {"layer": "base", "digest": base.digest, "compressed": base.compressed, "unpacked": 10, "files": 1,
         "largest": ["unattributed", "lastgood"]},
        {"layer": "app", "digest": app.digest, "compressed": app.compressed, "unpacked": 1, "files": 1, "largest": ["project"]},
    ]  # fmt: skip
    expected = {
        "build": "abc", "digest": image.digest, "compressed": image.size, "unpacked": 11, "files": 2, "budget": 10**6,
        "budgets": [{"name": "total", "used": image.size, "limit": 10**6, "over": False}],
        "platforms": [{"platform": "linux/amd64", "compressed": image.size, "unpacked": 11, "files": 2}],
        "wasted": {"compressed": 0, "unpacked": 0, "files": 0, "largest": []},
        "native": {"files": 0, "opens": [], "scripts_without_interpreter": {}},
        "growth": None, "findings": [], "accepted": [], "stale": [], "notes": [],
        "vulnerabilities": {"checked": [], "not_checked": [], "without_a_fix": 0},
    }  # fmt: skip
    assert {key: facts[key] for key in expected} == expected


_WRITE = "set it to 0755 or 0644; what has to be written belongs below /tmp or in a volume"


@pytest.mark.parametrize(
    ("name", "header", "rule", "text"),
    [
        ("usr/bin/bash", {"mode": 0o755}, "shell", "layer base holds the shell /usr/bin/bash: leave its package out"),
        ("bin/sh", {"type": tarfile.SYMTYPE, "linkname": "dash"}, "shell", "layer base holds the shell /bin/sh: leave its package out"),
        ("usr/bin/apt-get", {}, "package-manager", "layer base holds /usr/bin/apt-get: leave it out"),
        ("usr/local/bin/pip3.13", {}, "package-manager", "layer base holds /usr/local/bin/pip3.13: leave it out"),
        (f"{PACKAGES}/pip/__main__.py", {}, "package-manager", f"layer base holds /{PACKAGES}/pip/__main__.py: leave it out"),
        (f"{PACKAGES}/pip/__main__.pyc", {}, "package-manager", f"layer base holds /{PACKAGES}/pip/__main__.pyc: leave it out"),
        ("opt/tool", {"mode": 0o4755}, "setuid", "layer base: /opt/tool is setuid or setgid: clear the bit"),
        ("opt/tool", {"mode": 0o2755}, "setuid", "layer base: /opt/tool is setuid or setgid: clear the bit"),
        ("opt/tool", {"uid": 1000, "gid": 50}, "owner", "layer base: /opt/tool belongs to 1000:50, not root: give it to 0:0"),
        ("dev/null", {"type": tarfile.CHRTYPE}, "device",
         "layer base: /dev/null is a device: leave it out: the container's host makes /dev"),
        ("opt/x", {"mode": 0o666}, "writable", f"layer base: /opt/x can be written to by the user (mode 0666): {_WRITE}"),
        ("opt/x", {"mode": 0o664}, "writable", f"layer base: /opt/x can be written to by its group (mode 0664): {_WRITE}"),
        ("var/tmp", FOLDER | {"mode": 0o1777}, "writable",
         f"layer base: /var/tmp can be written to by the user (mode 1777): {_WRITE}"),
    ],
)  # fmt: skip
def test_what_must_not_be_in_it(plant: Any, name: str, header: dict[str, object], rule: str, text: str) -> None:
    image = plant(base={name: header})
    assert findings(image) == [(rule, name, text)]
    assert findings(image, accept=(f"{rule}: /{name}",)) == []


def test_a_file_of_the_user_is_writable_whatever_its_mode_for_others(plant: Any) -> None:
    found = findings(plant(base={"opt/x": {"uid": 65532, "gid": 65532}}))
    assert [one[0] for one in found] == ["owner", "writable"]


def test_what_a_later_layer_deletes_is_not_in_a_container(plant: Any) -> None:
    assert findings(plant(base={"bin/sh": {"mode": 0o755}}, top={"bin/.wh.sh": b""})) == []


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("", "the image runs as root"),
        ("0:0", "the image runs as root"),
        ("app", "the image runs as user app, not 65532"),
    ],
)
def test_the_user(plant: Any, user: str, said: str) -> None:
    assert findings(plant(config={"User": user})) == [
        ("user", user or "root", f"{said}: add USER 65532:65532 to its Dockerfile")
    ]


def test_scripts_whose_interpreter_is_missing(plant: Any) -> None:
    """Only the one that the image starts refuses it: every Django project has a manage.py that nobody starts by its name."""
    layer = {
        "app/manage.py": {"content": b"#!/usr/bin/env python\n", "mode": 0o755},
        "app/fine": {"content": b"#!/usr/bin/python3 -B\n", "mode": 0o755},
        "app/not-run": b"#!/usr/bin/perl\n",
        "usr/bin/python3": b"x",
    }
    for started, expected in (
        ("/usr/bin/python3", []),
        ("/app/manage.py", [(
            "missing-interpreter", "/usr/bin/env",
            ("layer app: /app/manage.py needs the interpreter /usr/bin/env, which is not in the image: look for the Debian package "
            "that has usr/bin/env and add it to [tool.lastgood.image] packages"),
        )]),
    ):  # fmt: skip
        image = plant(app=layer, config={"User": "65532", "Entrypoint": [started]})
        assert findings(image) == expected
        notes = measure.scan(image, 10**6)["native"]["scripts_without_interpreter"]
        assert notes == ({} if expected else {"app/manage.py": "/usr/bin/env"})


def test_growth_by_cause(plant: Any, distribution: Any) -> None:
    noise = bytes(range(256)) * 40
    old = plant(build="old", dependencies=distribution("django", "5.2.19", {"django/a.py": b"a"}), app={"app/a": b"1"})
    new = plant(
        build="new",
        dependencies=distribution("django", "5.2.20", {"django/a.py": b"a" * 99})
        | distribution("pillow", "12.1.0", {"PIL/x.bin": noise}),
        app={"app/a": b"1", "app/b": noise[::-1]},
    )
    before = measure.examine(old)[0].contents
    assert contents.Contents.read(before.text()) == before
    facts = measure.scan(new, 10**6, measure.Options(before=before, against="build old"))
    growth = facts["growth"]
    assert {key: growth[key] for key in ("against", "build", "compressed", "files")} == {
        "against": "build old", "build": "old", "compressed": new.size - old.size, "files": 4,
    }  # fmt: skip
    assert sum(one["compressed"] for one in growth["causes"]) == new.size - old.size
    assert sum(one["unpacked"] for one in growth["causes"]) == new.unpacked - old.unpacked
    assert [one["cause"] for one in growth["causes"]][:2] == ["pillow 12.1.0 new", "the project's own files"]
    assert "django 5.2.19 → 5.2.20" in [one["cause"] for one in growth["causes"]]
    back = measure.scan(old, 10**6, measure.Options(before=measure.examine(new)[0].contents, against="build new"))[
        "growth"
    ]
    assert back["causes"][-1]["cause"] == "pillow 12.1.0 gone"
    same = measure.scan(old, 10**6, measure.Options(before=before, against="build old"))
    assert (same["growth"]["causes"], same["growth"]["compressed"]) == ([], 0)


def test_growth_that_can_not_be_looked_at_is_said(plant: Any) -> None:
    image = plant(app={"app/a": b"1"})
    assert measure.scan(image, Budget(growth=5))["notes"] == [
        "budget.growth was not checked: name what to compare with, as --against last-good"
    ]
    options = measure.Options(against="staging has no last good release to compare with yet")
    facts = measure.scan(image, Budget(growth=5), options)
    assert facts["notes"] == ["growth was not looked at: staging has no last good release to compare with yet"]
    assert facts["findings"] == []


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project with a budget of 1 kB."""
    (tmp_path / "manage.py").touch()
    text = '[tool.lastgood]\nproject = "shop"\nsettings = "s"\n[tool.lastgood.image]\nbudget = "1 kB"\n'
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    return tmp_path


def built(shop: Path, image: Image) -> Image:
    """Makes the image the project's last build."""
    (shop / ".lastgood/build.json").write_text(json.dumps(image.as_dict()), encoding="utf-8")
    return image


def test_the_command_refuses_a_build_over_its_budget(
    plant: Any, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = random.Random(1).randbytes(9000)  # noqa: S311  what no codec makes smaller
    image = built(shop, plant(app={"app/photo.bin": noise}))
    assert cli.main(["scan", "--json", "--project", str(shop)]) == 1
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert [one["rule"] for one in facts["findings"]] == ["budget"]
    own = report.megabytes(facts["owners"][0]["compressed"])
    assert said.err.splitlines()[-1] == (
        f"lastgood: the scan found the largest part is the project's own files with {own}; the image is "
        f"{report.megabytes(image.size)} compressed, {report.megabytes(image.size - 1000)} over its budget of 1.0 kB: leave something "
        "out or raise budget.total"
    )
    assert contents.Contents.read(contents.stored(image.folder)).size == image.size


def test_every_face_of_the_command(
    plant: Any, shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = built(shop, plant(app={"app/a": b"1"}))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(shop / "summary"))
    files = {name: shop / name for name in ("markdown", "sarif", "treemap")}
    options = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    assert cli.main(["scan", "--project", str(shop), *options, "--against", image.build + ".json"]) == 2
    assert cli.main(["scan", "--project", str(shop), *options]) == 0
    capsys.readouterr()
    assert cli.main(["scan", "--project", str(shop), *options, "--against", "abc"]) == 0
    assert "+0.0 kB against build abc\n  nothing weighs more or less\n" in capsys.readouterr().out
    assert files["markdown"].read_text(encoding="utf-8").startswith("### Image: accepted\n")
    assert files["treemap"].read_text(encoding="utf-8").startswith("<svg ")
    assert json.loads(files["sarif"].read_text(encoding="utf-8"))["version"] == "2.1.0"
    summary = (shop / "summary").read_text(encoding="utf-8")
    assert summary.startswith("### Image: accepted\n")
    assert "```" not in summary


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kept", "0"], "--kept is 0: it must be more than 0"),
        (["--price", "-1"], "--price is -1.0: it must be more than 0"),
        (["--bandwidth", "0"], "--bandwidth is 0: it must be more than 0"),
        (["--against", "nothing"], ("there is no scan of nothing ({state}/builds/nothing/scan.json does not exist): no build was scanned "
         "here yet; build it and run `lastgood scan`")),
        (["--against", "last-good"], "the local cloud is not up: run `lastgood local up`"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(
    plant: Any, shop: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    built(shop, plant(app={"app/a": b"1"}))
    assert cli.main(["scan", "--project", str(shop), *options]) == 2
    assert capsys.readouterr() == ("", f"lastgood: {said.format(state=shop / '.lastgood')}\n")


def test_a_scan_that_can_not_be_read(plant: Any, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(shop, plant(app={"app/a": b"1"}))
    (shop / "old.json").write_text('{"v":1}', encoding="utf-8")
    assert cli.main(["scan", "--project", str(shop), "--against", str(shop / "old.json")]) == 2
    assert capsys.readouterr().err == (
        f"lastgood: {shop}/old.json can't be compared with: it is not what a scan wrote (KeyError: 'owners'); scan that build again\n"
    )


def test_the_bill_of_materials(plant: Any, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(shop, plant(app={"app/a": b"1"}))
    assert cli.main(["sbom", "--project", str(shop)]) == 0
    body = capsys.readouterr().out
    assert json.loads(body)["metadata"]["component"]["name"] == "shop"
    assert cli.main(["sbom", "--project", str(shop), "--output", str(shop / "bom.json")]) == 0
    assert capsys.readouterr().out == f"{shop}/bom.json was written\n"
    assert (shop / "bom.json").read_text(encoding="utf-8") == body
