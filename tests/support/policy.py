"""Policies of tests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from services.kernel.policy import Policy, load

OPT_OUT = Path(__file__).with_name("policy.yaml")
"""A file of which every regime is opt_out."""


@dataclass(slots=True)
class InForce:
    """A policy that a test changes by hand."""

    current: Policy
    judging_since: int = 0


def policy(regime: str = "opt_out", **changed: Any) -> Policy:
    """That file's, of that regime everywhere, with changes."""
    return msgspec.structs.replace(load(OPT_OUT), jurisdictions={"*": regime}, **changed)
