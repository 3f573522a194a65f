"""The object store: accounts and buckets, asked as a step would ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aelif.config import RunConfig
from aelif.doctor import Finding
from aelif_pipelines import contract
from aelif_pipelines.doctor_cluster.addresses import is_outside, read_address
from aelif_pipelines.doctor_cluster.kube import Kube, NotLookedError, fault
from aelif_pipelines.doctor_cluster.values import gather

_REMEDIES = {
    "NoSuchBucket": "make it (on the store of components/s3-store: job/s3-bucket), or mend its name",
    "AccessDenied": "let the account of Secret aelif-s3 list it",
    "InvalidAccessKeyId": "the store does not know AWS_ACCESS_KEY_ID: mend runs/secrets/s3.env, apply",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is wrong: mend runs/secrets/s3.env, apply",
    "PermanentRedirect": "it is in another region: mend AWS_DEFAULT_REGION or AWS_ENDPOINT_URL in runs/settings.env",
    "AuthorizationHeaderMalformed": "it is in another region: mend AWS_DEFAULT_REGION in runs/settings.env",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
}


def check_buckets(kube: Kube, config: RunConfig, *, destination: str, reached_at: str) -> Iterator[Finding]:
    """List one object below each ``s3://`` address that a run reads or writes.

    Args:
        kube: the cluster.
        config: what a run would read.
        destination: where its results would go; "": MLflow keeps them.
        reached_at: where the store answers to this machine; "": at its own address.
    """
    values = gather(kube, contract.SETTINGS, contract.STORE_ACCOUNT)
    absent = [key.name for key in contract.STORE_ACCOUNT.keys if not values.get(key.name)]
    if absent:
        raise NotLookedError(
            f"{' and '.join(absent)} not known", "see the findings on ConfigMap aelif, Secret aelif-s3"
        )
    endpoint = reached_at or values.get("AWS_ENDPOINT_URL", "")
    if endpoint:
        try:
            address = read_address(endpoint, kube)
        except ValueError as error:
            yield fault("object store", str(error), "set AWS_ENDPOINT_URL in runs/settings.env: http(s)://…")
            return
        if not is_outside(address) and not kube.inside and not reached_at:
            raise NotLookedError(
                f"{endpoint} is reached from the cluster alone",
                f"{address.forward(8333)}, then --endpoint-url http://127.0.0.1:8333; or run this in the cluster",
            )
    client = _client(values, endpoint)
    named = list(_named(config, values, destination))
    if not named:
        yield _check(client, "", what="account", endpoint=endpoint)
    for what, uri, must_hold in named:
        yield _check(client, uri, what=what, endpoint=endpoint, must_hold=must_hold)


def _named(config: RunConfig, values: dict[str, str], destination: str) -> Iterator[tuple[str, str, bool]]:
    """Yield what an address is for, the address, and whether something must lie there."""
    inputs = [("photos", subject.instance_images) for subject in config.data.subjects]
    inputs += [("reference photos", config.data.reference_images or ""), ("base model", config.base_model)]
    outputs = [("artifacts", values.get("AELIF_ARTIFACT_LOCATION", "")), ("results", destination)]
    for must_hold, rows in ((True, inputs), (False, outputs)):
        yield from ((what, uri, must_hold) for what, uri in dict.fromkeys(rows) if uri.startswith("s3://"))


def _client(values: dict[str, str], endpoint: str) -> Any:
    import boto3
    from botocore.config import Config

    settings = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 1})
    session = boto3.Session(
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
        region_name=values.get("AWS_DEFAULT_REGION") or None,
    )
    return session.client("s3", endpoint_url=endpoint or None, config=settings)


def _check(client: Any, uri: str, *, what: str, endpoint: str, must_hold: bool = False) -> Finding:
    """List one object, or the buckets where no address is named."""
    from botocore.exceptions import BotoCoreError, ClientError

    subject = f"object store, {what}"
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    try:
        if not uri:
            client.list_buckets()
            return Finding(subject=subject, found=f"accepted by {endpoint or 'AWS'}; a run names no bucket")
        listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if not uri and code == "AccessDenied":
            return Finding(
                subject=subject, found=f"known to {endpoint or 'AWS'}; it may not list buckets, and need not"
            )
        remedy = _REMEDIES.get(code, "see what the store's log says")
        return fault(subject, f"{uri or endpoint}: {code}", remedy)
    except BotoCoreError as error:
        remedy = "is AWS_ENDPOINT_URL (runs/settings.env) right, and the store up? A firewall may let pods alone pass"
        return fault(subject, f"{endpoint or 'AWS'}: no answer ({type(error).__name__})", remedy)
    if must_hold and not listed.get("KeyCount"):
        return fault(subject, f"nothing below {uri}", f"aws s3 ls {uri}: mend the address, or upload")
    written = "" if must_hold else "; that it may be written was not tried"
    return Finding(subject=subject, found=f"{uri} can be listed{written}")
