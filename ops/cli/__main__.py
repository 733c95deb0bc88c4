"""`python -m thalweg.ops.cli`."""

import sys
from pathlib import Path

if __name__ == "__main__" and not sys.flags.safe_path and sys.path[:1] == [str(Path.cwd())]:
    del sys.path[0]  # Python put it there; modules in the folder where this was started take no library's place

from thalweg.ops.cli.main import main

if __name__ == "__main__":
    main()
