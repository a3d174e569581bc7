"""The evaluator, on the examples that AWS's documentation tells with their outcome (IAM User Guide; DynamoDB Developer Guide)."""

from __future__ import annotations

from typing import Any

import pytest

from permissions.policy import Request, Role, allows, conditions

ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def one(effect: Any = "Allow", action: Any = "*", resource: Any = "*", **condition: Any) -> dict[str, Any]:
    statement = {"Effect": effect, "Action": action, "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement | ({"Condition": condition} if condition else {})]}


def test_nothing_is_allowed_by_itself_and_a_denial_beats_everything() -> None:
    request = Request("s3:GetObject", "arn:aws:s3:::bucket/a")
    assert not allows([], request)
    assert allows([one(action="s3:Get*")], request)
    assert not allows([one(action="s3:Get*"), one("Deny", "s3:*", "arn:aws:s3:::bucket/*")], request)


def test_actions_are_compared_in_any_case_and_resources_are_not() -> None:
    assert allows([one(action="IAM:passrole")], Request("iam:PassRole", "arn:aws:iam::1:role/a"))
    assert not allows([one(resource="arn:aws:iam::1:role/A")], Request("iam:PassRole", "arn:aws:iam::1:role/a"))


def test_a_wildcard_in_a_resource_passes_over_slashes_and_colons() -> None:
    assert allows([one(resource="arn:aws:iam::1:role/a/*")], Request("iam:GetRole", "arn:aws:iam::1:role/a/b/c"))
    assert allows(
        [one(resource="arn:aws:logs:*:1:log-group:/a:*")], Request("x:Y", "arn:aws:logs:r:1:log-group:/a:log-stream:b")
    )


def test_the_guides_boundary_that_lets_shirley_do_nothing_in_iam() -> None:
    """ "Permissions boundaries for IAM entities": s3, cloudwatch and ec2 are within it; iam:CreateUser, though allowed, is not."""
    boundary = one(action=["s3:*", "cloudwatch:*", "ec2:*"])
    shirley = Role(
        "arn:aws:iam::1:user/Shirley", one(), [one(action="iam:CreateUser"), one(action="s3:ListBucket")], boundary
    )
    assert not shirley.may(Request("iam:CreateUser", "arn:aws:iam::1:user/x"))
    assert shirley.may(Request("s3:ListBucket", "arn:aws:s3:::b"))
    assert not shirley.may(Request("ec2:RunInstances", "arn:aws:ec2:r:1:instance/*"))  # a boundary gives nothing


def test_a_key_that_is_not_there() -> None:
    """ "Policy evaluation logic, condition operators": positive ones are false, negated and IfExists ones are true."""
    assert not conditions({"StringEquals": {"aws:RequestTag/a": "b"}}, {})
    assert conditions({"StringNotEquals": {"aws:RequestTag/a": "b"}}, {})
    assert conditions({"StringEqualsIfExists": {"ec2:InstanceType": "t1.micro"}}, {})
    assert not conditions({"StringEqualsIfExists": {"ec2:InstanceType": "t1.micro"}}, {"ec2:InstanceType": "m8.large"})
    assert not conditions({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, {})
    assert conditions({"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}, {})


@pytest.mark.parametrize(
    ("there", "null", "holds"),
    [(True, "true", False), (True, "false", True), (False, "true", True), (False, "false", False)],
)
def test_null(there: bool, null: str, holds: bool) -> None:
    assert conditions({"Null": {"aws:TokenIssueTime": null}}, {"aws:TokenIssueTime": "now"} if there else {}) is holds


def test_sets() -> None:
    """ "Set operators for multivalued context keys": ForAllValues is true without a key, which is why Null stands beside it."""
    allowed = {"ForAllValues:StringEquals": {"aws:TagKeys": ["environment", "cost-center"]}}
    assert conditions(allowed, {"aws:TagKeys": ["environment", "cost-center"]})
    assert conditions(allowed, {"aws:TagKeys": ["environment"]})
    assert not conditions(allowed, {"aws:TagKeys": ["environment", "dept"]})
    assert conditions(allowed, {})
    assert not conditions({**allowed, "Null": {"aws:TagKeys": "false"}}, {})
    any_of = {"ForAnyValue:StringEquals": {"aws:TagKeys": ["webserver"]}}
    assert conditions(any_of, {"aws:TagKeys": ["webserver", "other"]})
    assert not conditions(any_of, {})


def test_the_developer_guides_leading_keys() -> None:
    """ "Using IAM policy conditions for fine-grained access control": items of one user alone."""
    table = "arn:aws:dynamodb:us-west-2:123456789012:table/GameScores"
    policy = one(
        action="dynamodb:GetItem", resource=table, **{"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["me"]}}
    )
    assert allows([policy], Request("dynamodb:GetItem", table, {"dynamodb:LeadingKeys": ["me"]}))
    assert not allows([policy], Request("dynamodb:GetItem", table, {"dynamodb:LeadingKeys": ["me", "you"]}))


def test_arns_are_compared_part_by_part() -> None:
    """ "Amazon Resource Name (ARN) condition operators": ArnEquals and ArnLike behave identically."""
    for operator in ("ArnEquals", "ArnLike"):
        block = {operator: {"aws:SourceArn": "arn:aws:sns:us-east-1:123456789012:TOPIC-*"}}
        assert conditions(block, {"aws:SourceArn": "arn:aws:sns:us-east-1:123456789012:TOPIC-ID"})
        assert not conditions(block, {"aws:SourceArn": "arn:aws:sns:us-east-1:999999999999:TOPIC-ID"})
    assert not conditions({"ArnLike": {"aws:SourceArn": "arn:aws:*"}}, {"aws:SourceArn": "arn:aws:sns:r:1:t"})


def test_stringequals_knows_no_wildcard() -> None:
    assert not conditions({"StringEquals": {"a:b": "refs/tags/v1.*"}}, {"a:b": "refs/tags/v1.2.3"})
    assert conditions({"StringLike": {"a:b": ["x", "refs/tags/v1.*"]}}, {"a:b": "refs/tags/v1.2.3"})
    assert not conditions({"StringLike": {"a:b": "refs/tags/v1.*"}}, {"a:b": "refs/tags/v10.2.3"})


def test_all_conditions_must_hold_and_one_value_of_each() -> None:
    block = {"StringEquals": {"a:b": ["1", "2"], "a:c": "3"}}
    assert conditions(block, {"A:B": "2", "a:c": "3"})
    assert not conditions(block, {"a:b": "2", "a:c": "4"})


def test_a_trust_policy() -> None:
    trust = {
        "Statement": {"Effect": "Allow", "Principal": {"Service": "ecs.amazonaws.com"}, "Action": "sts:AssumeRole"}
    }
    role = Role("arn:aws:iam::1:role/a", trust, [ANYTHING])
    assert role.trusts("sts:AssumeRole", {"Service": "ecs.amazonaws.com"}, {})
    assert not role.trusts("sts:AssumeRole", {"AWS": "arn:aws:iam::1:role/b"}, {})
    assert not role.trusts("sts:TagSession", {"Service": "ecs.amazonaws.com"}, {})


@pytest.mark.parametrize(
    "policy",
    [
        {"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "Action": "*", "Resource": "*"}]},
        one(resource="arn:aws:s3:::${aws:username}"),
        one(DateLessThan={"aws:CurrentTime": "2026-01-01"}),
        one(StringEquals={"a:b": "1"}),
    ],
)
def test_what_it_does_not_know_it_says(policy: Any) -> None:
    with pytest.raises(NotImplementedError):
        allows([policy], Request("s3:GetObject", "arn:aws:s3:::x", {"a:b": ["1", "2"]}))
