"""A server that speaks S3 (moto's), for whoever pushes to buckets: in these tests and in benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer


@contextmanager
def serving() -> Iterator[str]:
    """Yield the address of a running server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def environment(endpoint: str) -> dict[str, str]:
    """Return the variables that lead S3's clients to a server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


def new_place(endpoint: str, bucket: str) -> str:
    """Make a bucket and return the address of an empty place in it."""
    known = environment(endpoint)
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=known["AWS_REGION"],
        aws_access_key_id=known["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=known["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/adapters"
