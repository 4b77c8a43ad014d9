"""Downloads the SDKs for Java that tests/sdk/java locks, which may take longer than a test may."""

from __future__ import annotations

from deploy.local import kafka
from deploy.local.process import LocalStackError
from services.kernel.settings import ROOT

FOLDER = ROOT / "tests" / "sdk" / "java"
FETCHED = ROOT / ".venv" / "java-sdks"
"""Stands there once they are had."""


def main() -> None:
    """Raises LocalStackError where the registry serves another file than the locked one."""
    try:
        kafka.class_path(FOLDER)
    except LocalStackError as error:
        if error.__cause__ is None:
            raise
        print(f"the tests of SDKs for Java will be skipped: {error}")
    else:
        FETCHED.touch()


if __name__ == "__main__":
    main()
