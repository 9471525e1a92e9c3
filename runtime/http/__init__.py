"""What the services over HTTP share. Importing it needs the extra `services`.

app = application(settings, title="rollbook commands")

@app.post("/users")
async def create(caller: Annotated[Caller, Depends(require(Scope.COMMANDS))]) -> Response: ...

serve(settings, app, "127.0.0.1:18082")
"""

from runtime.callers.caller import Caller, Scope
from runtime.http.application import application, json_response, stopping
from runtime.http.authorise import require
from runtime.http.bodies import MERGE_PATCH, parse_object, read_object, refuse_unknown
from runtime.http.openapi import refusals
from runtime.http.problems import problem_response
from runtime.http.route import add_routes, routes
from runtime.http.serve import serve
from runtime.problem import problem, status_of

__all__ = [
    "MERGE_PATCH",
    "Caller",
    "Scope",
    "add_routes",
    "application",
    "json_response",
    "parse_object",
    "problem",
    "problem_response",
    "read_object",
    "refusals",
    "refuse_unknown",
    "require",
    "routes",
    "serve",
    "status_of",
    "stopping",
]
