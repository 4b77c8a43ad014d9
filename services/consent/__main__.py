"""Start the consent service: ``python -m services.consent``."""

from services.consent.app import build
from services.kernel.run import main

main("consent", build)
