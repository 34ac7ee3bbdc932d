"""Makes the stand-in for CUDA graphs importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
