"""For all tests: LiteLLM reads its price list from its own package, not from the network."""

from __future__ import annotations

import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
