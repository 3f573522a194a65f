"""Give the pipeline an MLflow account that is not the administrator's; safe to repeat.

Reads MLFLOW_TRACKING_URI, MLFLOW_AUTH_ADMIN_USERNAME and MLFLOW_AUTH_ADMIN_PASSWORD, and the account to make
from RUNS_USERNAME and RUNS_PASSWORD. An account that exists gets the password anew.
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request

PATIENCE_S = 240
ABSENT, REFUSED = 404, 400


def call(method: str, path: str, body: dict[str, str]) -> int:
    """Return the HTTP status of one call as the administrator."""
    login = f"{os.environ['MLFLOW_AUTH_ADMIN_USERNAME']}:{os.environ['MLFLOW_AUTH_ADMIN_PASSWORD']}"
    request = urllib.request.Request(
        f"{os.environ['MLFLOW_TRACKING_URI'].rstrip('/')}/api/2.0/mlflow/users/{path}",
        method=method,
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        if error.code in (ABSENT, REFUSED):
            return error.code
        raise SystemExit(
            f"MLflow answers {error.code} to users/{path}: {error.read().decode()[:300]}; 401: the administrator's "
            "password in mlflow-admin is not the one it began with; 403: add this host to --allowed-hosts"
        ) from error


def main() -> None:
    """Update the account, or create it where there is none; wait for a server that is still starting."""
    account = {"username": os.environ["RUNS_USERNAME"], "password": os.environ["RUNS_PASSWORD"]}
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            done = "given its password"
            if call("PATCH", "update-password", account) == ABSENT:
                status = call("POST", "create", account)
                if status == REFUSED:
                    sys.exit("MLflow refuses this account; passwords need 12 characters or more")
                done = "created"
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if time.monotonic() > end:
                sys.exit(f"{os.environ['MLFLOW_TRACKING_URI']} does not answer: {error}; see the pods of mlflow")
            time.sleep(5)
            continue
        print(f"{account['username']}: {done}")
        return


if __name__ == "__main__":
    main()
