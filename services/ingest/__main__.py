"""Start the ingest service: ``python -m services.ingest``."""

from services.ingest.app import build
from services.kernel.run import main

main("ingest", build)
