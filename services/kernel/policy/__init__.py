"""The operator's policy: what data may be used for, what people are asked and told, and what holds for those
who have not answered. One YAML file (deploy/policy.yaml), read by every service."""

from services.kernel.policy.model import EVERY, Basis, Policy
from services.kernel.policy.reading import InvalidPolicy, load
from services.kernel.policy.watching import Policies

__all__ = ["EVERY", "Basis", "InvalidPolicy", "Policies", "Policy", "load"]
