"""What ingest takes out by the rules that come with the repository."""

from __future__ import annotations

from services.ingest.domain.masking import Cleaner
from services.ingest.domain.rules import Rules
from services.kernel.settings import ROOT

RULES = Rules.read((ROOT / "deploy" / "ingest.yaml").read_text(), "ingest.yaml")
CLEANER = Cleaner(RULES)
