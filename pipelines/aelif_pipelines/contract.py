"""What manifests, compiled pipelines and checks of a cluster agree on: names of ConfigMaps, Secrets, volumes, accounts.

`manifests/` makes these objects, steps read them as environment variables. tests/manifests holds both, and the
table in docs/operations.md, to this file.
"""

from __future__ import annotations

from dataclasses import dataclass

RUNNER = "aelif-runner"
"""ServiceAccount of the steps; `service_account` of a run."""
MODEL_CACHE = "aelif-model-cache"
"""PersistentVolumeClaim of downloaded models."""
CHECKPOINTS = "aelif-checkpoints"
"""PersistentVolumeClaim of checkpoints."""
QUEUE = "aelif"
"""Kueue's LocalQueue; value of the label `QUEUE_LABEL` on a step's pod."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
USER_ID = 10001
"""User and group of our images' processes, and owner of the volumes."""
CACHE_FOLDER, CHECKPOINT_FOLDER = "/cache", "/checkpoints"
"""Where steps find the two volumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a ConfigMap or Secret; its name is that of the environment variable."""

    name: str
    meaning: str
    optional: bool = False
    """Whether its value may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A ConfigMap or a Secret."""

    kind: str
    name: str
    keys: tuple[Key, ...]

    @property
    def key_names(self) -> frozenset[str]:
        """Return the keys it must have."""
        return frozenset(key.name for key in self.keys)


def _s3_keys(may: str) -> tuple[Key, ...]:
    """Return the keys of an S3 account."""
    return (
        Key(name="AWS_ACCESS_KEY_ID", meaning=f"S3 account that {may}"),
        Key(name="AWS_SECRET_ACCESS_KEY", meaning="its secret"),
    )


_STORE = (
    Key(name="AWS_ENDPOINT_URL", meaning="the object store"),
    Key(name="AWS_DEFAULT_REGION", meaning="its region; any word for SeaweedFS"),
)

SETTINGS = Source(
    kind="ConfigMap",
    name="aelif",
    keys=(
        Key(name="MLFLOW_TRACKING_URI", meaning="MLflow server, ours or one you have"),
        Key(name="MLFLOW_EXPERIMENT_NAME", meaning="experiment that collects the runs"),
        Key(name="AELIF_ARTIFACT_LOCATION", meaning="where its files go; empty: the server decides", optional=True),
        *_STORE,
    ),
)
TRACKING_ACCOUNT = Source(
    kind="Secret",
    name="aelif-mlflow",
    keys=(
        Key(name="MLFLOW_TRACKING_USERNAME", meaning="MLflow account of the runs", optional=True),
        Key(name="MLFLOW_TRACKING_PASSWORD", meaning="its password; both empty where MLflow asks none", optional=True),
    ),
)
STORE_ACCOUNT = Source(kind="Secret", name="aelif-s3", keys=_s3_keys("reads photos and models, writes results"))
HUB_ACCOUNT = Source(
    kind="Secret", name="aelif-hub", keys=(Key(name="HF_TOKEN", meaning="token of the model hub", optional=True),)
)
NOTIFICATION = Source(
    kind="Secret",
    name="aelif-notify",
    keys=(Key(name="AELIF_WEBHOOK_URL", meaning="told how a run ended", optional=True),),
)
EVERY_STEP = (SETTINGS, TRACKING_ACCOUNT, STORE_ACCOUNT)
"""What each step reads."""
RUNS = (*EVERY_STEP, HUB_ACCOUNT, NOTIFICATION)
"""What steps read, in the namespace where they run."""

SCHEDULE = Source(
    kind="ConfigMap",
    name="aelif-schedule",
    keys=(
        Key(name="NAME", meaning="of the recurring run"),
        Key(name="CRON", meaning="when, UTC; six fields, seconds first"),
        Key(name="RECIPE", meaning="what it runs"),
        Key(name="KFP_HOST", meaning="Kubeflow Pipelines' API"),
        Key(name="DESTINATION", meaning="where results go: s3://bucket/prefix", optional=True),
        Key(name="CHECKPOINT_ROOT", meaning=f"folder below {CHECKPOINT_FOLDER}; empty: none are kept", optional=True),
        Key(name="QUEUE", meaning="Kueue's LocalQueue; empty: pods are not queued", optional=True),
        Key(name="AELIF_CPU_IMAGE", meaning="image of steps that run no model, by digest"),
        Key(name="AELIF_GPU_IMAGE", meaning="image of the other steps, by digest"),
    ),
)
"""What the job that makes the recurring run reads, in the same namespace."""

SERVERS = (
    Source(
        kind="ConfigMap",
        name="mlflow-server",
        keys=(
            Key(name="PGHOST", meaning="PostgreSQL server"),
            Key(name="PGPORT", meaning="its port"),
            Key(name="PGDATABASE", meaning="database of MLflow"),
            Key(name="PGSSLMODE", meaning="libpq's: `prefer`, `require`, `verify-full`"),
            Key(name="MLFLOW_BUCKET_URI", meaning="where artifacts lie: s3://bucket/prefix"),
            *_STORE,
        ),
    ),
    Source(
        kind="Secret",
        name="mlflow-database",
        keys=(
            Key(name="PGUSER", meaning="database user"),
            Key(name="PGPASSWORD", meaning="its password"),
        ),
    ),
    Source(kind="Secret", name="mlflow-s3", keys=_s3_keys("reads, writes, deletes in MLflow's bucket")),
    Source(
        kind="Secret",
        name="mlflow-admin",
        keys=(
            Key(name="MLFLOW_AUTH_ADMIN_USERNAME", meaning="administrator of MLflow"),
            Key(name="MLFLOW_AUTH_ADMIN_PASSWORD", meaning="password on the first start, 12 characters or more"),
            Key(name="MLFLOW_FLASK_SERVER_SECRET_KEY", meaning="signs sessions; the same for all replicas"),
        ),
    ),
    Source(
        kind="Secret",
        name="mlflow-user",
        keys=(
            Key(name="RUNS_USERNAME", meaning="account to make for runs: MLFLOW_TRACKING_USERNAME"),
            Key(name="RUNS_PASSWORD", meaning="its password: MLFLOW_TRACKING_PASSWORD"),
        ),
    ),
)
"""What MLflow and its database read, in their namespace."""

BACKUP = (
    Source(
        kind="ConfigMap",
        name="mlflow-backup",
        keys=(
            Key(name="BACKUP_URI", meaning="where dumps lie: s3://bucket/prefix"),
            Key(name="BACKUP_KEEP_DAYS", meaning="how long"),
            Key(name="RESTORE_DUMP", meaning="dump to restore; empty: the newest", optional=True),
            *_STORE,
        ),
    ),
    Source(kind="Secret", name="mlflow-backup", keys=_s3_keys("writes, reads, deletes dumps")),
)
"""What dump and restore read besides."""
