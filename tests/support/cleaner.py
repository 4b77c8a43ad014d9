"""What ingest takes out by the rules that come with the repository."""

from __future__ import annotations

from services.kernel.masking.cleaner import Cleaner
from services.kernel.masking.rules import Rules
from services.kernel.settings import ROOT

RULES = Rules.load(ROOT / "deploy" / "ingest.yaml")
CLEANER = Cleaner(RULES)
