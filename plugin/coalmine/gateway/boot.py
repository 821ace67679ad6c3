"""How LiteLLM gets its callback: ``litellm_settings.callbacks: ["coalmine.plugin"]``."""

from __future__ import annotations

import gc
import logging
import os
from functools import cache
from typing import Any

log = logging.getLogger("coalmine")

@cache
def plugin() -> Any:
    """Return this process's plugin, made and started at the first call.

    LiteLLM looks it up inside each worker's start, with the event loop running. Never raises for a
    fault of ours: then LiteLLM gets a callback that does nothing, and nothing reaches a candidate.
    """
    from litellm.integrations.custom_logger import CustomLogger

    if os.environ.get("COALMINE_BYPASS", "").strip() not in ("", "0"):
        log.warning("COALMINE_BYPASS is set: Coalmine is switched off, LiteLLM routes alone")
        return CustomLogger()
    if not logging.getLogger().handlers and not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        log.addHandler(handler)
        log.setLevel(os.environ.get("COALMINE_LOG", "INFO"))
    from coalmine.gateway.finish_reasons import watch
    from coalmine.gateway.plugin import CoalminePlugin
    from coalmine.gateway.signatures import mismatches
    from coalmine.gateway.worker import Worker

    watch()
    problems = mismatches(CustomLogger)
    for problem in problems:
        log.error("this LiteLLM is not supported, stable only: %s", problem)
    try:
        worker = Worker(os.environ, problems)
        worker.start()
    except Exception:
        log.exception("Coalmine could not start: it is off, LiteLLM routes alone")
        return CustomLogger()
    _settle()
    return CoalminePlugin(worker)


def _settle() -> None:
    """Keep what LiteLLM has loaded out of the garbage collector's rounds.

    Its modules are about a million objects, and a whole round over them stops a worker for a third
    to half a second (measured), streams and rollbacks alike: docs/decisions/0008.
    """
    gc.collect()
    gc.freeze()
