"""The README names nothing that is not there: files, make targets, commands, SDKs, paths."""

import json
import re

import pytest

from services.cli import candor
from services.ingest.paths import route
from services.kernel.settings import ROOT

README = (ROOT / "README.md").read_text()
PATHS = sorted(
    set(re.findall(r"\]\(([^)#:]+)\)", README))
    | set(re.findall(r"\b(?:tests|deploy|schemas|docs|services)/[\w./-]+\w", README))
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_there_is_something_to_check() -> None:
    assert len(PATHS) > 10


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?\bmake ([a-z-]+)\b", README))))
def test_every_make_target_exists(target: str) -> None:
    assert target in TARGETS


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\bcandor ([a-z]+)", README))))
def test_every_command_exists(command: str) -> None:
    assert command in candor.commands


SDKS = re.findall(r"`(@?[\w/-]+)` \|", README[README.index("## Send events") : README.index("## Let people")])


def test_it_names_sdks() -> None:
    assert len(SDKS) > 4


@pytest.mark.parametrize("sdk", SDKS)
def test_every_sdk_is_one_that_the_tests_run(sdk: str) -> None:
    packages = set(json.loads((ROOT / "tests/sdk/package.json").read_text())["dependencies"])
    for part in ("demo", "dev"):
        packages |= set((ROOT / f"requirements/{part}.in").read_text().split())
    assert sdk in packages


@pytest.mark.parametrize("path", sorted(set(re.findall(r":8010(/v1[\w/]*)", README))))
def test_every_path_of_ingest_is_served(path: str) -> None:
    assert route(path) is not None
