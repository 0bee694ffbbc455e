"""Write a bill of materials, CycloneDX 1.6: ``bill_of_materials.py PACKAGES OUT``.

``PACKAGES`` is what ``pip install --dry-run --report`` lists under ``"install"``. Ends with an
error where the document is not valid, or a package is needed that is not there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "midstream"
_MOST_LICENCE_CHARS = 100


def licences(metadata: dict) -> list:
    """What a package says of its licence."""
    if metadata.get("license_expression"):
        return [LicenseExpression(metadata["license_expression"])]
    prefix = "License :: OSI Approved :: "
    named = [
        text.removeprefix(prefix)
        for text in metadata.get("classifier", ())
        if text.startswith(prefix)
    ]
    told = (metadata.get("license") or "").strip().partition("\n")[0]
    if not named and told:
        named = [told[:_MOST_LICENCE_CHARS]]
    return [DisjunctiveLicense(name=name) for name in named]


def component(row: dict) -> Component:
    """One package."""
    metadata = row["metadata"]
    name, version = canonicalize_name(metadata["name"]), metadata["version"]
    ours = name == OURS
    hashes = row.get("download_info", {}).get("archive_info", {}).get("hashes", {})
    url = PackageURL("pypi", None, name, version)
    made = Component(
        type=ComponentType.APPLICATION if ours else ComponentType.LIBRARY,
        name=name,
        version=version,
        description=metadata.get("summary") or None,
        purl=url,
        bom_ref=str(url),
        licenses=licences(metadata),
        hashes=[]
        if ours or "sha256" not in hashes
        else [HashType(alg=HashAlgorithm.SHA_256, content=hashes["sha256"])],
    )
    for text in metadata.get("project_url", ()):
        label, _, address = text.partition(",")
        if label.strip().lower() in ("homepage", "source", "repository", "source code"):
            kind = ExternalReferenceType.VCS if "ource" in label else ExternalReferenceType.WEBSITE
            made.external_references.add(ExternalReference(type=kind, url=XsUri(address.strip())))
    return made


def required(row: dict, extras: set[str]) -> list[tuple[Requirement, str]]:
    """What a package needs with these extras, each with the extra that asks for it."""
    found = []
    for text in row["metadata"].get("requires_dist", ()):
        wanted = Requirement(text)
        for extra in ("", *sorted(extras)):
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                found.append((wanted, extra))
                break
    return found


def extras_of(rows: dict[str, dict]) -> dict[str, set[str]]:
    """Extras with which each package is needed, from ours on."""
    asked = {OURS: set(rows[OURS].get("requested_extras", ()))}
    waiting = [OURS]
    while waiting:
        name = waiting.pop()
        for wanted, _ in required(rows[name], asked[name]):
            needed = canonicalize_name(wanted.name)
            if needed not in rows:
                raise LookupError(f"{name} needs {wanted}, which is not resolved")
            before = asked.get(needed)
            asked[needed] = (before or set()) | wanted.extras
            if asked[needed] != before:
                waiting.append(needed)
    return asked


def make(rows: list[dict]) -> Bom:
    """The document.

    Raises
    ------
    LookupError
        A package is required and not there.
    """
    by_name = {canonicalize_name(row["metadata"]["name"]): row for row in rows}
    components = {name: component(row) for name, row in by_name.items()}
    asked = extras_of(by_name)
    bom = Bom()
    bom.metadata.component = components[OURS]
    for name, extras in asked.items():
        if name != OURS:
            bom.components.add(components[name])
        needed = [
            (canonicalize_name(one.name), extra) for one, extra in required(by_name[name], extras)
        ]
        bom.register_dependency(components[name], [components[one] for one, _ in needed])
        if name == OURS:
            for one, extra in needed:
                label = f"extra {extra}" if extra else "always"
                components[one].properties.add(Property(name="midstream:needed", value=label))
    return bom


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    bom = make(json.loads(chosen.packages.read_text()))
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        print(error, file=sys.stderr)
        return 1
    chosen.out.write_text(text + "\n")
    print(f"{chosen.out}: {len(bom.components)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
