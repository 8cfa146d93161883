"""Writes what the wheel runs with as a CycloneDX 1.5 document: each package that this environment has of its dependencies.

    python scripts/sbom.py > fairshare.cdx.json

It is made from the installed packages' own metadata, without a clock and without random numbers, so that the same environment
has the same document. Source: https://cyclonedx.org/docs/1.5/json/
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "fairshare"


def needed(root: str) -> dict[str, tuple[Distribution, tuple[str, ...]]]:
    """Each package that one needs here, itself included, by name, with the names of those that it needs itself."""
    found: dict[str, tuple[Distribution, tuple[str, ...]]] = {}
    waiting = [root]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # of another system, or an extra that nobody asked for
        wants = (Requirement(line) for line in package.requires or ())
        names = sorted(
            {
                canonicalize_name(want.name)
                for want in wants
                if want.marker is None or want.marker.evaluate({"extra": ""})
            }
        )
        found[name] = package, tuple(names)
        waiting += names
    return found


def component(name: str, package: Distribution, *, kind: str = "library") -> dict[str, object]:
    """What the document says of one package."""
    metadata = package.metadata
    licence = metadata.get("License-Expression") or metadata.get("License") or ""
    told: dict[str, object] = {
        "type": kind,
        "bom-ref": reference(name, package),
        "name": name,
        "version": package.version,
        "purl": reference(name, package),
    }
    if summary := metadata.get("Summary"):
        told["description"] = summary
    if licence and len(licence) < 100:
        is_expression = metadata.get("License-Expression") is not None
        told["licenses"] = [{"expression": licence} if is_expression else {"license": {"name": licence}}]
    return told


def reference(name: str, package: Distribution) -> str:
    """The package's URL, https://github.com/package-url/purl-spec."""
    return f"pkg:pypi/{name}@{package.version.replace('+', '%2B')}"


def document() -> dict[str, object]:
    """The whole of it."""
    found = needed(ROOT)
    root, _ = found[ROOT]
    others = {name: package for name, (package, _) in sorted(found.items()) if name != ROOT}
    listed = [component(name, package) for name, package in others.items()]
    depends = [
        {
            "ref": reference(name, package),
            "dependsOn": [reference(name, found[name][0]) for name in names if name in found],
        }
        for name, (package, names) in sorted(found.items())
    ]
    content = json.dumps([listed, depends], sort_keys=True)
    made = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": f"{made:%Y-%m-%dT%H:%M:%SZ}",
            "component": component(ROOT, root, kind="application"),
            "properties": [{"name": "python", "value": ".".join(map(str, sys.version_info[:3]))}],
        },
        "components": listed,
        "dependencies": depends,
    }


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=1)
    print()
