"""A DynamoDB table in memory, as boto3's resource looks from the outside: keys, conditions, updates, transactions."""

from __future__ import annotations

import copy
import re
from typing import Any

from botocore.exceptions import ClientError


class Conflict(ClientError):
    def __init__(self, code: str = "ConditionalCheckFailedException") -> None:
        super().__init__({"Error": {"Code": code, "Message": "The conditional request failed"}}, "PutItem")


class Exceptions:
    ConditionalCheckFailedException = Conflict


def holds(condition: Any, item: dict[str, Any], names: dict[str, str], values: dict[str, Any]) -> bool:
    """Whether a condition (boto3's objects, or the few forms of text that are used) is true of an item; {} is no item."""
    if isinstance(condition, str):
        found = re.fullmatch(r"attribute_not_exists\((\w+)\)", condition)
        if found:
            return found[1] not in item
        pairs = [part.split(" = ") for part in condition.split(" AND ")]
        return all(item.get(names.get(name, name)) == values[value] for name, value in pairs)
    parts = condition.get_expression()
    operator, operands = parts["operator"], parts["values"]
    if operator in ("AND", "OR"):
        both = [holds(one, item, names, values) for one in operands]
        return all(both) if operator == "AND" else any(both)
    name = operands[0].name
    if operator == "attribute_not_exists":
        return name not in item
    if operator == "begins_with":
        return str(item.get(name, "")).startswith(operands[1])
    if operator == "=":
        return name in item and item[name] == operands[1]
    assert operator == "<", operator
    return name in item and item[name] < operands[1]


def step_into(item: dict[str, Any], path: str, names: dict[str, str]) -> tuple[Any, Any]:
    """The container and the last key of a path, as `hops[0].task` or `#event.ResponseURL`."""
    keys: list[Any] = []
    for part in path.split("."):
        name, *indices = re.findall(r"[#\w]+", part)
        keys += [names.get(name, name), *map(int, indices)]
    here: Any = item
    for key in keys[:-1]:
        here = here[key]
    return here, keys[-1]


class Table:
    """The table; `after` is called with the name of every operation once it is done (to do something in between)."""

    name = "lastgood-board"

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.meta = self
        self.client = self
        self.exceptions = Exceptions

    def _check(self, key: dict[str, str], condition: Any, names: Any = None, values: Any = None) -> None:
        item = self.items.get((key["pk"], key["sk"]), {})
        if condition is not None and not holds(condition, item, names or {}, values or {}):
            raise Conflict

    def get_item(self, Key: dict[str, str], ConsistentRead: bool = False) -> dict[str, Any]:  # noqa: N803
        found = self.items.get((Key["pk"], Key["sk"]))
        return {"Item": copy.deepcopy(found)} if found else {}

    def put_item(self, Item: dict[str, Any], ConditionExpression: Any = None, **more: Any) -> None:  # noqa: N803
        names, values = more.get("ExpressionAttributeNames"), more.get("ExpressionAttributeValues")
        self._check(Item, ConditionExpression, names, values)
        self.items[Item["pk"], Item["sk"]] = copy.deepcopy(Item)

    def delete_item(self, Key: dict[str, str], ConditionExpression: Any = None) -> None:  # noqa: N803
        self._check(Key, ConditionExpression)
        self.items.pop((Key["pk"], Key["sk"]), None)

    def update_item(
        self,
        Key: dict[str, str],  # noqa: N803
        UpdateExpression: str,  # noqa: N803
        ExpressionAttributeValues: dict[str, Any],  # noqa: N803
        ExpressionAttributeNames: dict[str, str] | None = None,  # noqa: N803
        ConditionExpression: Any = None,  # noqa: N803
    ) -> None:
        names = ExpressionAttributeNames or {}
        self._check(Key, ConditionExpression, names, ExpressionAttributeValues)
        item = self.items.setdefault((Key["pk"], Key["sk"]), dict(Key))
        sets, _, removes = UpdateExpression.removeprefix("SET ").partition(" REMOVE ")
        for pair in sets.split(", "):
            path, value = pair.split(" = ")
            place, last = step_into(item, path, names)
            place[last] = ExpressionAttributeValues[value]
        for path in filter(None, removes.split(", ")):
            place, last = step_into(item, path, names)
            place.pop(last, None)

    def transact_write_items(self, TransactItems: list[dict[str, Any]]) -> None:  # noqa: N803
        before = copy.deepcopy(self.items)
        try:
            for one in TransactItems:
                ((kind, write),) = one.items()
                own = {name: value for name, value in write.items() if name != "TableName"}
                {"Update": self.update_item, "Put": self.put_item}[kind](**own)
        except Conflict:
            self.items = before
            raise Conflict("TransactionCanceledException") from None

    def query(self, KeyConditionExpression: Any, **options: Any) -> dict[str, Any]:  # noqa: N803
        found = [item for item in self.items.values() if holds(KeyConditionExpression, item, {}, {})]
        found.sort(key=lambda item: item["sk"], reverse=not options.get("ScanIndexForward", True))
        return {"Items": copy.deepcopy(found)}
