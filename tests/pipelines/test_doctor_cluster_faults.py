"""`aelif doctor --cluster` against a cluster with one fault at a time: it is named, and so is the remedy."""

import base64
from pathlib import Path

import pytest
import yaml
from tests.manifests.rendering import MANIFESTS, needs_kubectl
from tests.pipelines.cluster_state import Pipelines, applied, namespace, node, pod, use

from aelif.config import RunConfig
from aelif.doctor import Finding
from aelif_pipelines import contract
from aelif_pipelines.deployment import Deployment
from aelif_pipelines.doctor_cluster import rights
from aelif_pipelines.doctor_cluster.examine import Question, examine_cluster
from aelif_pipelines.package import compile_package
from aelif_pipelines.settings import load_config

pytestmark = needs_kubectl
CPUS = {"cluster.accelerators": 0, "cluster.cpu": "1", "cluster.memory": "4Gi"}
TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
A100 = {"nvidia.com/gpu.product": "NVIDIA-A100"}


def settings(**changes: object) -> RunConfig:
    given = {f"cluster.{key}": value for key, value in changes.items()}
    return load_config("quickstart", changes={**CPUS, **given})


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that examines a cluster: subject → finding."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    def look(server, *, config=None, pipelines=None, **question) -> dict[str, Finding]:
        with server, pipelines or Pipelines() as kfp:
            use(monkeypatch, server.kubeconfig(tmp_path / "config"))
            findings = examine_cluster(Question(config=config or settings(), **{"host": kfp.url, **question}))
        found = {finding.subject: finding for finding in findings}
        assert len(found) == len(findings), [finding.subject for finding in findings]
        return found

    return look


def assert_fault(finding: Finding, said: str, remedy: str) -> None:
    assert not finding.ok, finding
    assert said in finding.found, finding
    assert remedy in finding.remedy, finding


def assert_not_looked(finding: Finding, reason: str, remedy: str) -> None:
    assert finding.ok, finding
    assert not finding.looked, finding
    assert finding.found.startswith("not looked at: "), finding
    assert reason in finding.found, finding
    assert remedy in finding.remedy, finding


# ── Kubernetes, Kubeflow Pipelines, the caller ──


def test_nothing_is_reached_and_every_check_says_so(tmp_path, monkeypatch):
    use(monkeypatch, tmp_path / "none")
    findings = examine_cluster(Question(config=settings(), host="http://127.0.0.1:9"))
    first, second, *others = findings
    assert_fault(first, "Invalid kube-config", "KUBECONFIG")
    assert_fault(second, "http://127.0.0.1:9: no answer", "port-forward")
    assert len(others) >= 15
    for finding in others:
        assert finding.ok, finding
        assert "was not reached" in finding.found or finding.subject == "Kubeflow Trainer", finding


def test_a_dead_api_server_is_asked_once(tmp_path, monkeypatch):
    server = applied("dev")
    with server:
        use(monkeypatch, server.kubeconfig(tmp_path / "config"))
    findings = examine_cluster(Question(config=settings(), host="http://127.0.0.1:9"))
    assert_fault(findings[0], f"no answer from {server.url}", "kubectl version")
    assert "Kubernetes was not reached" in findings[3].found


def test_context_chooses_the_cluster_of_both(tmp_path, monkeypatch):
    server = applied("dev", node("one"))
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "kubeflow", "name": "ml-pipeline"}}
    server.add({**service, "spec": {"ports": [{"name": "http", "port": 8888}]}})
    with server, Pipelines() as kfp:
        server.backends["kubeflow/ml-pipeline:http"] = kfp.url
        use(monkeypatch, server.kubeconfig(tmp_path / "config", context="here"))
        known = examine_cluster(Question(config=settings(), context="here"))
        unknown = examine_cluster(Question(config=settings(), context="elsewhere"))
    assert known[0].ok
    assert known[1].found == "2.17.0 at the cluster's own address, one user", (
        "by the kubeconfig's proxy, with its token"
    )
    assert_fault(unknown[0], "Expected object with name elsewhere", "--context")
    assert not unknown[1].ok


def test_old_kubernetes(look):
    server = applied("dev", node("one"))
    server.version = "v1.29.3"
    assert_fault(look(server)["Kubernetes"], "v1.29.3", "1.31 or newer")


def test_refused_login(look):
    server = applied("dev", node("one"))
    server.login = False
    found = look(server)
    assert_fault(found["Kubernetes"], "401", "log in again")
    assert "was not reached" in found["nodes"].found


@pytest.mark.parametrize("tag", ["2.16.1", "2.5.0"])
def test_old_pipelines(look, tag):
    found = look(applied("dev", node("one")), pipelines=Pipelines(tag=tag))["Kubeflow Pipelines"]
    assert_fault(found, tag, "2.17 or newer")


def test_pipelines_of_unknown_version(look):
    found = look(applied("dev", node("one")), pipelines=Pipelines(tag="unknown"))["Kubeflow Pipelines"]
    assert_not_looked(found, "unknown", "get deployment ml-pipeline")


def test_pipelines_behind_a_login(look):
    found = look(applied("dev", node("one")), pipelines=Pipelines(token="right"))
    assert_fault(found["Kubeflow Pipelines"], "401", "--token-file")
    assert_not_looked(found["your rights"], "Kubeflow Pipelines was not reached", "")


def test_many_users_and_no_namespace(look):
    found = look(applied("dev", node("one")), pipelines=Pipelines(multi_user=True))["Kubeflow Pipelines"]
    assert_fault(found, "has many users", "--namespace")


def test_runs_may_not_be_read(look):
    pipelines = Pipelines()
    pipelines.refuses_reading = True
    assert_fault(look(applied("dev", node("one")), pipelines=pipelines)["your rights"], "403", "kubeflow-edit")


def test_runs_may_be_read_but_not_made(look):
    server = applied("dev", node("one"))
    server.caller_may = False
    found = look(server, pipelines=Pipelines(multi_user=True), namespace="kubeflow")["your rights"]
    assert_fault(found, "not make them, in kubeflow", "kubeflow-edit")


def test_kubernetes_cannot_tell_about_another_token(look, tmp_path):
    (tmp_path / "token").write_text("right")
    found = look(applied("dev", node("one")), pipelines=Pipelines(multi_user=True, token="right"),
                 namespace="kubeflow", token_file=str(tmp_path / "token"))["your rights"]  # fmt: skip
    assert_not_looked(found, "its token", "kubectl auth can-i create runs.pipelines.kubeflow.org -n kubeflow")


# ── Nodes ──


def test_nodes_that_may_not_be_seen(look):
    server = applied("dev", node("one"))
    server.forbidden.add(("list", "nodes"))
    found = look(server)
    assert_not_looked(found["nodes"], "cannot list", "administrator")
    assert "accelerators" not in found


def test_no_node_is_ready(look):
    found = look(applied("dev", node("one", ready=False)))
    assert_fault(found["nodes"], "0 of 1 take pods", "not Ready")
    assert "no node is left" in found["nodes' size"].found


def test_no_accelerators(look):
    amd = node("one", **{"amd.com/gpu": "4"})
    found = look(applied("dev", amd), config=settings(accelerators=1))
    assert_fault(
        found["accelerators"], "no node offers nvidia.com/gpu; there are amd.com/gpu", "cluster.accelerators=0"
    )
    assert look(applied("dev", amd), config=settings(accelerators=1, accelerator="amd.com/gpu"))["accelerators"].ok


def test_accelerators_are_counted_with_what_pods_hold(look):
    nodes = [node("one", gpu="8", labels=A100), node("two", gpu="4", labels=A100), node("three")]
    pods = [pod("a", on="one", gpus=3), pod("b", on="two", gpus=1), pod("c", on="two", gpus=2, phase="Succeeded")]
    server = applied("dev", *nodes, *pods)
    found = look(server, config=settings(accelerators=4))["accelerators"]
    assert found.ok
    assert "12 × nvidia.com/gpu on 2 nodes (NVIDIA-A100); 8 free; 2 nodes have the 4" in found.found
    server.forbidden.add(("list", "pods"))
    assert "is not known (you may not list" in look(server, config=settings(accelerators=4))["accelerators"].found


def test_more_accelerators_than_a_node_has(look):
    found = look(applied("dev", node("one", gpu="2")), config=settings(accelerators=4))
    assert_fault(found["accelerators"], "0 nodes have the 4 of a training pod", "cluster.accelerators=2")


def test_more_nodes_than_there_are(look):
    found = look(applied("dev", node("one", gpu="8")), config=settings(accelerators=8, nodes=2))
    assert_fault(found["accelerators"], "1 nodes have the 8", "cluster.nodes=1")


@pytest.mark.parametrize(
    ("label", "said"),
    [("pool=h100", "no node has the label pool=h100: they have pool=a100"), ("gone=yes", "none has gone at all")],
)
def test_no_node_has_the_label(look, label, said):
    server = applied("dev", node("one", gpu="1", labels={"pool": "a100"}))
    found = look(server, config=settings(accelerators=1, node_selector=[label]))
    assert_fault(found["nodes' labels"], said, f"kubectl label node NODE {label}")


def test_labels_on_different_nodes(look):
    server = applied("dev", node("one", labels={"a": "1"}), node("two", labels={"b": "2"}))
    found = look(server, config=settings(node_selector=["a=1", "b=2"]))
    assert_fault(found["nodes' labels"], "no node has all of a=1, b=2", "each label is on another node")


def test_taint_that_is_not_tolerated(look):
    server = applied("dev", node("one"), node("two", gpu="1", taints=[TAINT]))
    found = look(server, config=settings(accelerators=1))["nodes' taints"]
    assert_fault(found, "not tolerated: nvidia.com/gpu=present:NoSchedule",
                 """--set 'cluster.tolerations=["nvidia.com/gpu=present:NoSchedule"]'""")  # fmt: skip
    for toleration in ("nvidia.com/gpu=present:NoSchedule", "nvidia.com/gpu:NoSchedule"):
        assert look(server, config=settings(accelerators=1, tolerations=[toleration]))["nodes' taints"].ok
    other = settings(accelerators=1, tolerations=["nvidia.com/gpu=absent:NoSchedule"])
    assert not look(server, config=other)["nodes' taints"].ok


def test_nodes_too_small(look):
    found = look(applied("dev", node("one", cpu="3500m", memory="15Gi")), config=settings(memory="32Gi"))
    assert_fault(found["nodes' size"], "0 of 1 have 1 CPUs and 32Gi; the largest has 3500m and 15Gi", "4Gi")


# ── Queue, several nodes ──

QUEUE = {"queue": "aelif", "namespace": "aelif-runs"}


def production(*nodes):
    server = applied("production", *nodes)
    server.add(namespace("aelif-runs", **{"pod-security.kubernetes.io/enforce": "restricted"}))
    return server


def test_the_queue_chooses_nodes(look):
    flavor = production().find("resourceflavors", "aelif-gpu", "")["spec"]
    toleration = flavor["tolerations"][0]
    taint = {"key": toleration["key"], "effect": toleration["effect"], "value": toleration.get("value", "present")}
    pool = node("pool", gpu="4", cpu="64", memory="256Gi", labels=flavor["nodeLabels"], taints=[taint])
    found = look(production(node("one"), pool), config=settings(accelerators=4), **QUEUE)
    assert found["queue"].ok
    assert "Can submit new workloads" in found["queue"].found
    assert found["nodes' labels"].ok
    assert found["nodes' taints"].ok
    elsewhere = node("pool", gpu="4", labels={"other": "pool"})
    found = look(production(elsewhere), config=settings(accelerators=4), **QUEUE)
    assert_fault(found["nodes' labels"], "no node has the label", "ResourceFlavor aelif-gpu")


def test_pool_of_a_queue_that_may_not_be_seen(look):
    server = production(node("one", gpu="4"))
    server.forbidden.add(("get", "clusterqueues"))
    assert_not_looked(look(server, config=settings(accelerators=1), **QUEUE)["nodes' labels"], "cannot get", "right")


def test_queue_that_covers_no_such_accelerator(look):
    config = settings(accelerators=1, accelerator="amd.com/gpu")
    found = look(production(node("one", **{"amd.com/gpu": "4"})), config=config, **QUEUE)["nodes' labels"]
    assert_fault(found, "no flavour for amd.com/gpu", "base/queue/queue.yaml")


def test_queue_without_kueue(look):
    assert_fault(
        look(applied("dev", node("one")), queue="aelif")["queue"], "Kueue is not installed", "leave --queue out"
    )


def test_queue_that_is_not_there(look):
    found = look(production(node("one")), namespace="aelif-runs", queue="other")["queue"]
    assert_fault(found, "no LocalQueue other in aelif-runs", "components/kueue")


@pytest.mark.parametrize("state", ["inactive", "unknown"])
def test_queue_that_admits_nothing(look, state):
    server = production(node("one"))
    queue = server.find("localqueues", "aelif", "aelif-runs")
    if state == "unknown":
        del queue["status"]
    else:
        queue["status"]["conditions"] = [{"type": "Active", "status": "False", "message": "ClusterQueue is stopped"}]
    said = "no state yet" if state == "unknown" else "ClusterQueue is stopped"
    assert_fault(look(server, **QUEUE)["queue"], said, "kubectl describe clusterqueue aelif")


def test_several_nodes_without_trainer(look):
    found = look(applied("dev", node("one")), config=settings(nodes=2))
    assert_fault(found["Kubeflow Trainer"], "not installed, and cluster.nodes = 2", "cluster.nodes = 1")
    assert_fault(found["account aelif-runner"], "may not create trainjobs.trainer.kubeflow.org", "components/trainer")


def test_runtime_of_trainer(look):
    server = applied("production-trainer", node("one"), node("two"))
    runtime = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "ClusterTrainingRuntime"}
    server.add({**runtime, "metadata": {"name": "torch-distributed"}})
    found = look(server, config=settings(nodes=2), namespace="aelif-runs")
    assert found["Kubeflow Trainer"].ok
    assert "ClusterTrainingRuntime" in found["Kubeflow Trainer"].found
    assert found["account aelif-runner"].ok
    other = look(server, config=settings(nodes=2, runtime="mine"), namespace="aelif-runs")["Kubeflow Trainer"]
    assert_fault(other, "no runtime mine", "clustertrainingruntimes")


# ── Namespace ──


def test_namespace_that_is_not_there(look):
    found = look(applied("dev", node("one")), namespace="nowhere")
    assert_fault(found["namespace nowhere"], "there is none", "--namespace")


def test_pod_security(look):
    server = production(node("one"))
    assert "restricted: steps keep to it" in look(server, namespace="aelif-runs")["namespace aelif-runs"].found
    server.add(namespace("aelif-runs", **{"pod-security.kubernetes.io/enforce": "strict"}))
    assert_fault(
        look(server, namespace="aelif-runs")["namespace aelif-runs"], "strict, which is no level", "restricted"
    )


@pytest.mark.parametrize("source", contract.RUNS, ids=lambda source: source.name)
def test_settings_and_secrets(look, source):
    kind = f"{source.kind.lower()}s"
    subject = f"{source.kind} {source.name}"
    server = applied("dev", node("one"))
    data = server.find(kind, source.name)["data"]
    key = source.keys[0].name
    data[key], kept = "", data[key]
    empty = look(server)[subject]
    if source.keys[0].optional and source is not contract.TRACKING_ACCOUNT:
        assert empty.ok
    else:
        assert_fault(empty, "empty", "kubectl apply -k")
    del data[key]
    assert_fault(look(server)[subject], f"no key {key}", source.keys[0].meaning)
    data[key] = kept
    server.forbidden.add(("get", kind))
    assert_not_looked(look(server)[subject], f'cannot get resource "{kind}"', "administrator")
    server.forbidden.clear()
    server.remove(kind, source.name)
    assert_fault(look(server)[subject], "not in kubeflow", "kubectl apply -k")


def test_values_are_never_shown(look):
    found = look(applied("dev", node("one")))
    assert not [finding for finding in found.values() if "example-value" in finding.found + finding.remedy]


def test_a_pod_with_the_variables_of_a_step_is_examined_by_them(look, monkeypatch):
    server = applied("dev", node("one"))
    server.user = "system:serviceaccount:kubeflow:aelif-runner"
    server.forbidden |= {("get", "configmaps"), ("get", "secrets"), ("create", "subjectaccessreviews")}
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    for source in contract.RUNS:
        for key in source.keys:
            monkeypatch.setenv(key.name, "http://127.0.0.1:9" if "UR" in key.name else "value")
    found = look(server, context="test")
    assert "in this pod's environment" in found["ConfigMap aelif"].found
    assert "in this pod's environment" in found["Secret aelif-s3"].found
    assert found["account aelif-runner"].found == "it has its 5 rights"
    assert_fault(found["MLflow"], "no answer at http://127.0.0.1:9", "MLFLOW_TRACKING_URI")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert_fault(look(server, context="test")["Secret aelif-s3"], "no key AWS_ACCESS_KEY_ID", "S3 account")


def test_volumes(look):
    server = applied("dev", node("one"))
    name = contract.MODEL_CACHE
    claim = server.find("persistentvolumeclaims", name)
    assert "bound, 5Gi, ReadWriteOnce: fine on one node" in look(server)[f"volume {name}"].found
    server.add(node("two"))
    assert_fault(look(server)[f"volume {name}"], "there are 2 nodes", "storage class that can do ReadWriteMany")
    claim["status"] = {"phase": "Pending"}
    assert_fault(look(server)[f"volume {name}"], "Pending, class default", f"describe pvc {name}")
    server.remove("persistentvolumeclaims", name)
    assert_fault(look(server)[f"volume {name}"], "no such claim", "base/runs/volumes.yaml")


def test_quota(look):
    server = production(node("one", gpu="8"))
    assert "a training fits in" in look(server, config=settings(accelerators=4), namespace="aelif-runs")["quota"].found
    found = look(server, config=settings(accelerators=8), namespace="aelif-runs")["quota"]
    assert_fault(found, "requests.nvidia.com/gpu = 4, a training wants 8", "gpu-quota.yaml")


def test_account(look):
    server = applied("dev", node("one"))
    rules = server.find("roles", contract.RUNNER)["rules"]
    rules[:] = [rule for rule in rules if rule["resources"] != ["pods"]]
    rules[-1]["verbs"] = ["create"]
    found = look(server)["account aelif-runner"]
    assert_fault(found, "may not get pods, not patch workflowtaskresults.argoproj.io", "base/runs/accounts.yaml")
    server.forbidden.add(("create", "subjectaccessreviews"))
    account = "system:serviceaccount:kubeflow:aelif-runner"
    assert_not_looked(look(server)["account aelif-runner"], "those of others", f"can-i --list --as={account}")
    server.remove("serviceaccounts", contract.RUNNER)
    assert_fault(look(server)["account aelif-runner"], "not in kubeflow", "base/runs/accounts.yaml")


def granted(file: Path) -> set[str]:
    return {
        str(rights.Right(verb=verb, resource=resource, group=group, name=name))
        for document in yaml.safe_load_all(file.read_text())
        if document["kind"] == "Role"
        for rule in document["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
        for group in rule["apiGroups"]
        for name in rule.get("resourceNames", [""])
    }


def test_rights_are_those_of_the_manifests():
    assert {str(right) for right in rights.STEPS} == granted(MANIFESTS / "base" / "runs" / "accounts.yaml")
    assert {str(right) for right in rights.TRAINING} <= granted(MANIFESTS / "components" / "trainer" / "rights.yaml")


# ── Network ──


def test_steps_that_are_not_closed_off(look):
    server = applied("dev", node("one"))
    for key in [key for key in server.objects if key[0] == "networkpolicies" and key[1] == "kubeflow"]:
        del server.objects[key]
    found = look(server)
    assert_fault(found["network"], "not closed off", "base/runs/network.yaml")
    assert found["network from steps"].ok, "everything is open"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("aelif-steps-dns", "closed to DNS (kube-system:53)"),
        ("aelif-steps-to-kubeflow", "Kubeflow Pipelines' API (kubeflow:8887)"),
        ("aelif-steps-to-servers", "closed to MLflow (aelif:5000), the object store (aelif:8333)"),
        ("aelif-steps-https", "the Kubernetes API (outside the cluster:443/6443)"),
    ],
)
def test_policy_that_is_missing(look, policy, said):
    server = applied("dev", node("one"))
    server.remove("networkpolicies", policy)
    assert_fault(look(server)["network from steps"], said, "base/runs/network.yaml")


def test_port_that_no_policy_opens(look):
    server = applied("dev", node("one"))
    server.find("configmaps", "aelif")["data"]["MLFLOW_TRACKING_URI"] = "http://mlflow.example.org:5050"
    assert_fault(look(server)["network from steps"], "MLflow (outside the cluster:5050)", "add namespace and port")


def test_policies_are_about_the_port_of_the_pod(look):
    server = applied("dev", node("one"))
    server.find("services", "mlflow", "aelif")["spec"]["ports"] = [{"port": 80, "targetPort": 5000}]
    server.find("configmaps", "aelif")["data"]["MLFLOW_TRACKING_URI"] = "http://mlflow.aelif.svc.cluster.local"
    assert look(server)["network from steps"].ok


def test_servers_that_do_not_let_the_namespace_in(look):
    server = applied("dev", node("one"))
    for kind, place, name in list(server.objects):
        if place == "kubeflow":
            item = server.objects[kind, place, name]
            server.add({**item, "metadata": {**item["metadata"], "namespace": "team"}})
    server.add(namespace("team"))
    found = look(server, namespace="team")
    assert_fault(found["network to MLflow"], "does not let steps of team in", "servers/clients.yaml")


# ── Package ──


def test_package(look, tmp_path):
    digest = "@sha256:" + "0" * 64
    cpu, gpu = f"registry.example.org/aelif/cpu{digest}", f"registry.example.org/aelif/gpu{digest}"
    path = tmp_path / "robustness.yaml"
    compile_package("robustness", path, Deployment(cpu_image=cpu, gpu_image=gpu, queue="aelif"))
    server = production(node("one"))
    found = look(server, package=path, **QUEUE)
    assert found["images"].ok
    assert gpu in found["images"].found
    assert found["pods"].ok
    assert "none as root, queue aelif" in found["pods"].found
    assert_fault(look(server, package=path, namespace="aelif-runs")["pods"], "--queue is not given", "compile it again")
    path.write_text(path.read_text().replace(digest, ":1.0").replace("runAsNonRoot: true", "runAsNonRoot: false"))
    found = look(server, package=path, **QUEUE)
    assert_fault(found["images"], "cpu:1.0, registry.example.org/aelif/gpu:1.0: by tag", "--cpu-image NAME@sha256")
    assert_fault(found["pods"], "may run as root", "compile it again")
    path.write_text("a: 1")
    assert_fault(look(server, package=path)["package"], "no package", "aelif compile robustness --output")


def test_fake_encodes_secrets_as_kubernetes_does():
    data = applied("dev").find("secrets", "aelif-s3")["data"]
    assert base64.b64decode(data["AWS_ACCESS_KEY_ID"]) == b"example-value-AWS_ACCESS_KEY_ID"
