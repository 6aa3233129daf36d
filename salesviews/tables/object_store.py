"""An S3-compatible object store: its addresses, and what it takes to reach it, by the names that Delta knows."""

SCHEME = "s3://"

ENDPOINT = "AWS_ENDPOINT_URL"
REGION = "AWS_REGION"
KEY_ID = "AWS_ACCESS_KEY_ID"
KEY = "AWS_SECRET_ACCESS_KEY"


def options(endpoint: str, region: str, key_id: str, key: str) -> dict[str, str]:
    """What is empty is left to the machine's own credentials.

    A commit is a put that fails where the object exists: two writers cannot both write a version.
    """
    given = {ENDPOINT: endpoint, REGION: region, KEY_ID: key_id, KEY: key}
    found = {name: value for name, value in given.items() if value}
    return found | {"aws_conditional_put": "etag", "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower()}
