"""``/metrics``, for Prometheus. It needs the token like figures do: Prometheus sends it (``authorization``)."""

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from web import endpoints
from web.endpoints import Endpoint

METRICS = Endpoint(
    "/metrics", "the state of figures, pipeline and server, for Prometheus", media="text/plain", has_as_of=False
)


def routes(registry: CollectorRegistry) -> Blueprint:
    metrics = Blueprint("metrics", __name__)

    @endpoints.get(metrics, METRICS)
    def expose() -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), content_type=content_type)

    return metrics
