"""`python -m coalmine.sim`."""

from __future__ import annotations

import sys

from coalmine.sim.server import main

if __name__ == "__main__":
    sys.exit(main())
