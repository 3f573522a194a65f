"""No account may do what `rights.py` gives no reason for, and no reason is left without its right."""

from __future__ import annotations

import pytest
from tests.manifests.rendering import EVERYTHING, find, label_of, needs_kubectl, of_kind, render
from tests.manifests.rights import RIGHTS

pytestmark = needs_kubectl

Granted = tuple[str, str, str, str, frozenset[str]]


def granted(name: str) -> set[Granted]:
    """Return account, group, resource, verb and names of all that a rendering grants."""
    objects = render(name)
    rights: set[Granted] = set()
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        role = find(objects, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for subject in binding["subjects"]:
            assert subject["kind"] == "ServiceAccount", label_of(binding)
            for rule in role["rules"]:
                limited = frozenset(rule.get("resourceNames", []))
                rights |= {
                    (subject["name"], group, resource, verb, limited)
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for verb in rule["verbs"]
                }
    return rights


JUSTIFIED = {
    (right.account, right.group, right.resource, verb, right.names) for right in RIGHTS for verb in right.verbs
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_right_has_a_reason(name: str) -> None:
    assert granted(name) - JUSTIFIED == set()


def test_each_reason_has_a_right() -> None:
    assert set.union(*map(granted, EVERYTHING)) == JUSTIFIED
    assert all(len(right.reason) > 20 for right in RIGHTS)


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_wildcards_and_no_role_unused(name: str) -> None:
    objects = render(name)
    bound = {binding["roleRef"]["name"] for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding")}
    for role in of_kind(objects, "Role", "ClusterRole"):
        assert role["metadata"]["name"] in bound, label_of(role)
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], label_of(role)


@pytest.mark.parametrize("name", EVERYTHING)
def test_rights_in_the_whole_cluster_only_read(name: str) -> None:
    for role in of_kind(render(name), "ClusterRole"):
        for rule in role["rules"]:
            assert set(rule["verbs"]) <= {"get", "list", "watch"}, label_of(role)
