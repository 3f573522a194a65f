"""Create the bucket of MLFLOW_BUCKET_URI where there is none, and wait for a store that is still starting."""

import os
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PATIENCE_S = 240


def main() -> None:
    """Ask for the bucket; create it on 404."""
    bucket = os.environ["MLFLOW_BUCKET_URI"].removeprefix("s3://").partition("/")[0]
    store = boto3.client("s3", config=Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 1}))
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            store.head_bucket(Bucket=bucket)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("404", "NoSuchBucket"):
                store.create_bucket(Bucket=bucket)
                print(f"{bucket}: created")
                return
            if code in ("400", "403"):
                sys.exit(f"{bucket}: the store refuses the keys of mlflow-s3 ({code}); they are those it began with")
            fault: Exception = error
        except BotoCoreError as error:
            fault = error
        else:
            print(f"{bucket}: there already")
            return
        if time.monotonic() > end:
            sys.exit(f"{os.environ.get('AWS_ENDPOINT_URL')} does not answer: {fault}; see the pod s3-0")
        time.sleep(3)


if __name__ == "__main__":
    main()
