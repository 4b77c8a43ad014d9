from services.kernel.run import main
from services.segment.app import build

main("segment", build)
