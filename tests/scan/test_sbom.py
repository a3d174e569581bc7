"""The bill of materials: exact, the same every time, and valid CycloneDX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from lastgood.scan import owners, sbom

STATUS = b"Package: libc6\nVersion: 2.41-12\nArchitecture: amd64\nSource: glibc (2.41-12~x)\nHomepage: https://libc.example\n"


def test_the_document(plant: Any, distribution: Any, tmp_path: Path) -> None:
    lock = f"django[argon2]==5.2.20 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n    # via -r x\nother==1\n"
    (tmp_path / "requirements.txt").write_text(lock, encoding="utf-8")
    (tmp_path / "docker").mkdir()
    package = {"name": "libc6", "version": "2.41-12", "sha256": "c" * 64}
    (tmp_path / "docker/packages.lock").write_text(
        json.dumps({"stages": {"runtime": {"amd64": [package]}}}), encoding="utf-8"
    )
    content = distribution(
        "Django", "5.2.20", {"django/a.py": b"a"}, "License-Expression: BSD-3-Clause", "Summary: web"
    )
    image = plant(base={"var/lib/dpkg/status.d/libc6": STATUS}, dependencies=content)
    body = sbom.document("shop", image, tmp_path)
    assert sbom.document("shop", image, tmp_path) == body
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(body) is None
    data = json.loads(body)
    assert data["metadata"]["timestamp"] == "2026-01-02T03:04:05+00:00"
    assert data["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "d" * 64}]
    components = {one["name"]: one for one in data["components"]}
    assert components.keys() == {"libc6", "django"}
    assert components["libc6"]["purl"] == "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian"
    assert components["libc6"]["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]
    assert components["libc6"]["properties"] == [{"name": "debian:source", "value": "glibc 2.41-12~x"}]
    assert components["django"]["purl"] == "pkg:pypi/django@5.2.20"
    assert components["django"]["licenses"] == [{"license": {"acknowledgement": "declared", "id": "BSD-3-Clause"}}]
    assert components["django"]["externalReferences"] == [
        {"type": "distribution", "url": "pkg:pypi/django@5.2.20",
         "hashes": [{"alg": "SHA-256", "content": "a" * 64}, {"alg": "SHA-256", "content": "b" * 64}]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ({"License-Expression": ("MIT OR Apache-2.0",)}, ["MIT OR Apache-2.0"]),
        ({"License": ("BSD",), "Classifier": ("License :: OSI Approved :: BSD License",)}, ["BSD"]),
        ({"License": ("UNKNOWN",), "Classifier": ("License :: OSI Approved :: MIT License",)}, ["MIT License"]),
        ({"License": ("A whole\ntext",), "Classifier": ("License :: OSI Approved", "Topic :: X")}, []),
        ({}, []),
    ],
)
def test_licences(metadata: dict[str, tuple[str, ...]], named: list[str]) -> None:
    found = sbom.licences(owners.Distribution("a", "1", "", "", metadata))
    assert [
        getattr(one, "value", None) or getattr(one, "name", None) or getattr(one, "id", None) for one in found
    ] == named
