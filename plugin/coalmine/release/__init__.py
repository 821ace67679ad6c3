"""What is shipped, and the root of our errors."""

from coalmine.release.digest import canonical_json, digest
from coalmine.release.errors import CoalmineError
from coalmine.release.release import Release, Slot

__all__ = ["CoalmineError", "Release", "Slot", "canonical_json", "digest"]
