"""`candor policy`: the policy checked, and what a change of it means."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import click

from deploy.local.stack import Stack
from services.commands.output import columns
from services.kernel.policy import load
from services.kernel.policy.comparing import differences

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def policy() -> None:
    """The policy: purposes, regimes, texts, catalog."""


@policy.command()
@click.argument("file", type=FILE, required=False)
def check(file: Path | None) -> None:
    """Read FILE (that of the services when it is left out) as the services do; what is wrong is named with
    its line. Exit code 1 if anything is."""
    file = file or Stack().settings.policy
    read = load(file)
    places = defaultdict(list)
    for place in sorted({*read.jurisdictions, "*"}):
        places[read.regime(place)].append(place)
    print(f"{file.name} is a policy: version {read.version}, hash {read.hash[:16]}")
    columns(
        [
            ("purposes", ", ".join(read.purposes)),
            ("languages", ", ".join(read.texts)),
            *((regime, " ".join(covered)) for regime, covered in sorted(places.items())),
            ("catalog", f"{len(read.catalog.events)} events, {len(read.catalog.traits)} traits"),
        ]
    )


@policy.command()
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
def diff(old: Path, new: Path) -> None:
    """Say what changes for people from OLD to NEW. Exit code 1 where something does and the version is not
    higher."""
    before, after = load(old), load(new)
    lines = list(differences(before, after))
    print(f"version {before.version} → {after.version}")
    for line in lines or ["nothing changes for people"]:
        print(f"  {line}")
    if lines and after.version <= before.version:
        print("Raise the version: records of what people were shown name it.", file=sys.stderr)
        sys.exit(1)
