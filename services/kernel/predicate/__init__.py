"""Conditions over golden records: rule JSON (design: interfaces, "Segment rule") compiled to closures.

A condition's verdict is (holds, due): ``due`` is a time before which time alone does not change ``holds``.
A missing trait and one that is null are the same. Comparisons between unlike types do not hold; true and
false are no numbers. Windows of event counts are whole UTC hours up to 31 days, whole UTC days beyond;
those of traits are exact.
"""

from services.kernel.predicate.conditions import NEVER, Condition, Facts
from services.kernel.predicate.index import Index
from services.kernel.predicate.rules import InvalidRule, Problem, check_fields, compile_rule

__all__ = [
    "NEVER",
    "Condition",
    "Facts",
    "Index",
    "InvalidRule",
    "Problem",
    "check_fields",
    "compile_rule",
]
