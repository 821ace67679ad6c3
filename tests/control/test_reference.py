"""The pages that describe the API say what the code says."""

from __future__ import annotations

import json
from pathlib import Path

from coalmine.control import reference
from coalmine.control.document import ServiceDocument

DOCS = Path(__file__).parents[2] / "docs"


def test_the_api_page_is_not_stale() -> None:
    """docs/api.md is what `make docs` writes."""
    assert (DOCS / "api.md").read_text() == reference.page(), "run `make docs`"


def test_the_openapi_description_names_every_route_of_the_contract() -> None:
    """The paths stand in docs/openapi.json; the schemas' wording is FastAPI's affair."""
    kept = json.loads((DOCS / "openapi.json").read_text())
    assert sorted(kept["paths"]) == sorted(reference.openapi()["paths"]), "run `make docs`"
    for path in ("/coalmine/api/services", "/coalmine/api/services/{service}/rollback",
                 "/coalmine/metrics", "/coalmine/healthz", "/coalmine/alertmanager"):
        assert path in kept["paths"]


def test_every_field_of_a_service_says_what_it_means() -> None:
    """No field without a description."""
    assert all(field.description for field in ServiceDocument.model_fields.values())
