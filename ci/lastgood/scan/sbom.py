"""What a build is made of, as CycloneDX 1.6 JSON: exactly what is in the image, with the hashes of the locks.

The same build gives the same bytes: its serial number is made from its digest, its time is the commit's, the order is fixed.
Names of packages are https://github.com/package-url/purl-spec.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import License, LicenseAcknowledgement
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from lastgood import __version__, bundle
from lastgood.errors import LastgoodError
from lastgood.image.built import Image
from lastgood.scan import owners, view
from lastgood.scan.owners import Distribution, Package

# What classifiers are worth as licences: "License :: OSI Approved :: MIT License" is MIT License.
_CLASSIFIER = re.compile(r"^License :: (?:OSI Approved :: )?(?!OSI Approved$)(?P<name>[^:]+)$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(\S+)")


def document(project: str, image: Image, root: Path) -> str:
    """The bill of materials of a build's first platform, as JSON text. `project` is its name, `root` the folder that has its locks."""
    side = view.sides(image)[0]
    whose = owners.Owners(view.read(side.layers))
    python = python_hashes(_text(root / "requirements.txt"))
    debian = _debian_hashes((bundle.path("docker/base.lock"), root / "docker/packages.lock"))
    components = [
        *(_package(one, debian.get((one.name, one.version), "")) for one in whose.packages),
        *(_distribution(one, python.get((one.name, one.version), ())) for one in whose.distributions),
    ]
    purl = PackageURL("oci", None, project, image.digest, {"arch": side.platform.partition("/")[2]})
    top = Component(
        name=project, version=image.version, type=ComponentType.CONTAINER, bom_ref=purl.to_string(), purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.digest.removeprefix("sha256:"))],
        properties=[Property(name="lastgood:build", value=image.build), Property(name="lastgood:commit", value=image.commit)],
    )  # fmt: skip
    tool = Component(name="lastgood", version=__version__, type=ComponentType.APPLICATION)
    made = datetime.fromisoformat(image.created)
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, image.digest),
        metadata=BomMetaData(timestamp=made, tools=ToolRepository(components=[tool]), component=top),
        components=components,
        dependencies=[Dependency(top.bom_ref, [Dependency(one.bom_ref) for one in components])],
    )
    data: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    return json.dumps(data, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def python_hashes(lock: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """{(distribution, version): sha256 of every file that the lock allows} of a requirements.txt with hashes."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", lock):
        pin = _PIN.match(entry)
        if pin:
            found[owners.normalised(pin[1]), pin[2].rstrip("\\").strip()] = tuple(sorted(_HASH.findall(entry)))
    return found


def _debian_hashes(locks: Iterable[Path]) -> dict[tuple[str, str], str]:
    """{(package, version): sha256 of its file} of the Debian locks: the bundle's, and the project's own where it has one."""
    found: dict[tuple[str, str], str] = {}
    for file in locks:
        try:
            stages: Mapping[str, Any] = json.loads(_text(file) or "{}").get("stages", {})
        except (ValueError, LastgoodError):
            continue
        for entry in _packages(stages):
            found[entry["name"], entry["version"]] = entry["sha256"]
    return found


def _packages(data: Any) -> Iterator[Mapping[str, str]]:
    """Every package of a lock's stages, however deep: schema 2 has one more level, the architectures."""
    if isinstance(data, Mapping) and "sha256" in data:
        yield data
    elif isinstance(data, (Mapping, Sequence)) and not isinstance(data, str):
        for one in data.values() if isinstance(data, Mapping) else data:
            yield from _packages(one)


def _package(one: Package, sha256: str) -> Component:
    purl = PackageURL("deb", "debian", one.name, one.version, {"arch": one.architecture, "distro": "debian"})
    return Component(
        name=one.name, version=one.version, type=ComponentType.LIBRARY, bom_ref=purl.to_string(), purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else [],
        external_references=_website(one.homepage),
        properties=[Property(name="debian:source", value=f"{one.source} {one.source_version}")],
    )  # fmt: skip


def _distribution(one: Distribution, hashes: Sequence[str]) -> Component:
    purl = PackageURL("pypi", None, one.name, one.version)
    references = _website(next(iter(one.metadata.get("Home-page", ())), ""))
    # Which of the files that the lock allows was installed is not written down anywhere: all of them are named.
    references += [
        ExternalReference(
            type=ExternalReferenceType.DISTRIBUTION,
            url=XsUri(purl.to_string()),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=value) for value in hashes],
        )
    ] * bool(hashes)
    return Component(
        name=one.name, version=one.version, type=ComponentType.LIBRARY, bom_ref=purl.to_string(), purl=purl,
        licenses=licences(one), external_references=references,
        description=next(iter(one.metadata.get("Summary", ())), None),
    )  # fmt: skip


def _website(address: str) -> list[ExternalReference]:
    if not re.match(r"https?://\S+$", address):
        return []
    return [ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(address))]


def licences(one: Distribution) -> list[License]:
    """What a distribution's metadata declares: an SPDX expression, else the licence's name, else the classifiers."""
    make = LicenseFactory()
    declared = LicenseAcknowledgement.DECLARED
    named = [*one.metadata.get("License-Expression", ()), *one.metadata.get("License", ())]
    short = [text for text in named if text and "\n" not in text and len(text) < 100 and text.upper() != "UNKNOWN"]
    if short:
        return [make.make_from_string(short[0], license_acknowledgement=declared)]
    classifiers = (_CLASSIFIER.match(text) for text in one.metadata.get("Classifier", ()))
    return [make.make_with_name(found["name"], acknowledgement=declared) for found in classifiers if found]
