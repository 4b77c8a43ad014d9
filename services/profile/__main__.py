"""Start the profile service: ``python -m services.profile``."""

from services.kernel.run import main
from services.profile.app import build

main("profile", build)
