"""The OpenAPI document of a service, and the page that shows it."""

from fastapi import FastAPI
from starlette.responses import Response


def add_documentation(app: FastAPI) -> None:
    """Serve the document at `/openapi.json`."""

    async def document() -> Response:
        """Return this document."""
        import orjson

        return Response(orjson.dumps(app.openapi()), media_type="application/json")

    app.add_api_route("/openapi.json", document, methods=["GET"], include_in_schema=False)
