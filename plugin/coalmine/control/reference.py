"""``docs/api.md`` and ``docs/openapi.json``, made from the routes and the models.

``python -m coalmine.control.reference docs/`` writes them; a test fails when they are stale.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from coalmine import __version__
from coalmine.control import document as doc
from coalmine.control.api import build_api
from coalmine.control.bodies import CommandBody, ReleaseBody
from coalmine.control.errors import STATUS

HEAD = """# HTTP API

Made from the code by `make docs`. The routes are on the proxy itself; the same description as
OpenAPI is [openapi.json](openapi.json), and part of the proxy's own `/openapi.json`.

Every call but `healthz` carries `Authorization: Bearer KEY`: the key of a LiteLLM proxy admin or an
operator's token (`operators` in the policy, which says what it may do). Weights are percent, times
seconds, moments RFC 3339 in UTC; what does not apply is null.

```console
$ curl -s -X POST -H "Authorization: Bearer $COALMINE_KEY" \\
    http://localhost:4000/coalmine/api/services/chat/start \\
    -d '{"release": "v2", "reason": "new tune"}'
```
"""

NOTES = """
## Behaviour worth knowing

- A command answers with the service after it, and with `changed`.
- `rollback` is idempotent: rolling back what is back already is 200 with `changed: false`. It takes
  no notice of `epoch`. With the shared state out of reach, or not in use because the policy is
  broken since the start, the asked worker applies it at once, says so in `note`, and writes it
  later.
- Whatever else is asked below `/coalmine/` is answered with an error document too: 404 for a path
  that is none of ours, 405 with `Allow` for a method that a path does not take.
- Without a policy (observing) no service is known: `services` is empty, and everything below
  `/coalmine/api/services/` is 404 (`not_found`), whose hint says so. Look at `deployments` then.
- While the policy file has errors, services come with `policy`, which says how many and names the
  first of them. With errors at the proxy's start none is in force: every change but the rollback of
  a rollout is refused with 409 (`policy_broken`), and so is `history`.
- `start` asks every deployment of the candidate's slot, and stable's, for a real completion first.
- `rollback` in idle goes to `previous` (or `to`), if its slot still answers a real completion.
- `POST /coalmine/alertmanager` takes Alertmanager's webhook with the policy's
  `alertmanager_token`. A firing alert with the label `service` pauses that service's rollout; with
  `coalmine: rollback` it rolls it back. Without an `alertmanager_token` every call is refused.
- `GET /coalmine/metrics` also takes the policy's `metrics_token`. It shows all workers of this
  gateway together, from any of them. Latencies are histograms by service, release, arm and
  deployment; TTFT and the time between tokens come from streamed answers only.
- `GET /coalmine/api/deployments` shows the counters of each deployment as JSON, and so what an
  observing gateway (without a policy) sees.
"""


class _Nobody:
    """Stands where the routes want their surroundings; nothing is called."""

    def __getattr__(self, name: str) -> Any:
        return None


def openapi() -> dict[str, Any]:
    """Return the OpenAPI description of our routes."""
    app = FastAPI(title="Coalmine", version=__version__,
                  description="Canary releases and rollback for LLMs behind LiteLLM.")
    app.include_router(build_api(_Nobody()))  # type: ignore[arg-type]
    return app.openapi()


def _kind(annotation: Any) -> str:
    """Return a field's type in words."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(part) for part in get_args(annotation))
    if origin is list:
        return f"list of {_kind(get_args(annotation)[0])}"
    if origin is dict:
        return f"object of {_kind(get_args(annotation)[1])}"
    if origin is not None and str(origin) == "typing.Literal":
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin is not None:
        return _kind(get_args(annotation)[0])
    if annotation is type(None):
        return "null"
    if annotation is Any:
        return "any"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{_title(annotation)}](#{_title(annotation)})"
    names = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)).lower())


def _title(model: type[BaseModel]) -> str:
    return model.__name__.removesuffix("Document").removesuffix("Body").lower()


def _field(name: str, field: FieldInfo) -> str:
    need = "" if field.is_required() else f" (default `{json.dumps(field.default)}`)"
    return f"| `{name}` | {_kind(field.annotation)}{need} | {field.description or ''} |"


def _models() -> Iterator[str]:
    for model in (CommandBody, ReleaseBody, doc.ServiceDocument, doc.ArmsDocument,
                  doc.ArmDocument, doc.VerdictDocument, doc.GuardrailDocument, doc.SplitDocument,
                  doc.WorkerDocument, doc.ReleaseDocument, doc.EntryDocument,
                  doc.PolicyDocument, doc.DeploymentDocument, doc.HealthDocument,
                  doc.ErrorDocument, doc.ProblemDocument):
        yield f"\n### {_title(model)}\n"
        yield (model.__doc__ or "").split("\n\n")[0].replace("\n    ", " ")
        yield "\n| field | type | meaning |\n| --- | --- | --- |"
        for name, field in model.model_fields.items():
            yield _field(name, field)


def page() -> str:
    """Return ``docs/api.md``."""
    lines = [HEAD, "## Routes\n", "| | | answers with |", "| --- | --- | --- |"]
    for path, methods in openapi()["paths"].items():
        for method, about in methods.items():
            schema = about["responses"].get("200", {}).get("content", {}).get(
                "application/json", {}).get("schema", {})
            name = schema.get("$ref", "").rsplit("/", 1)[-1].removesuffix("Document").lower()
            lines.append(f"| `{method.upper()} {path}` | {about['summary']} | {name} |")
    lines += [NOTES, "## Errors\n", "| status | when |", "| --- | --- |"]
    for kind, status in STATUS.items():
        lines.append(f"| {status} | {(kind.__doc__ or '').splitlines()[0]} |")
    lines += ["\n## Documents", *_models()]
    return "\n".join(lines) + "\n"


def main(folder: str = "docs") -> None:
    """Write both files into `folder`."""
    place = Path(folder)
    (place / "api.md").write_text(page(), encoding="utf-8")
    (place / "openapi.json").write_text(
        json.dumps(openapi(), indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
