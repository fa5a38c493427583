import sys
from pathlib import Path

# The small route of the runner's tests; worker processes get sys.path from this one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test_counting"))
