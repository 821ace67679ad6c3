"""What is shipped, and the root of our errors."""

from coalmine.release.digest import canonical_json, digest
from coalmine.release.errors import CoalmineError
from coalmine.release.release import Release, Slot
from coalmine.release.strength import Strength

__all__ = ["CoalmineError", "Release", "Slot", "Strength", "canonical_json", "digest"]
