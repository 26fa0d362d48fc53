"""`python -m cooper` is the `cooper` command."""

from __future__ import annotations

import sys

from cooper.cli import main

if __name__ == "__main__":
    sys.exit(main())
