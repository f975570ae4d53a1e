"""The console with a page more, which says what of a request reaches it."""

from flask import Response, g, jsonify, request

from console import create_app
from console.permissions import public

app = create_app()


@app.get("/seen")
@public
def seen() -> Response:
    """Say who asked for what, as the console sees it."""
    answer = jsonify(
        address=request.remote_addr,
        url=request.base_url,
        root=request.script_root,
        request_id=g.request_id,
        headers=dict(request.headers),
        query=request.query_string.decode(),
    )
    answer.set_cookie("large", "x" * int(request.args.get("cookie", 0)))
    return answer
