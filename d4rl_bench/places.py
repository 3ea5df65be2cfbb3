"""Where data and cells lie unless somebody says otherwise."""

from pathlib import Path

DATA = "runs/d4rl/data"
CELLS = Path("runs/d4rl/cells")
