"""Write all generated pages of ``docs/`` again: ``make docs``."""

from __future__ import annotations

import sys

from coalmine.cli import reference as cli
from coalmine.control import reference as api
from coalmine.rollout import reference as policy


def main(folder: str = "docs") -> int:
    """Write the pages into `folder`."""
    policy.main(folder)
    api.main(folder)
    return cli.main([folder])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
