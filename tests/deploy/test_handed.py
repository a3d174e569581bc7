"""What a task could not have is refused by name before anything is touched; a secret's value goes where it belongs and nowhere else."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from lastgood.config.project import Environment, Job, Process, Shape
from lastgood.deploy import handed, secret
from lastgood.deploy.place import Place
from lastgood.errors import Refused, UsageError
from lastgood.record.release import BuildFacts

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret"
PARAMETER = "arn:aws:ssm:eu-central-1:123456789012:parameter"


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Operation")


class Secrets:
    """Secrets Manager and Systems Manager in one, by what is there; `denied` answers nothing."""

    def __init__(self, *there: str, denied: bool = False) -> None:
        self.there: dict[str, str] = dict.fromkeys(there, "")
        self.denied = denied
        self.meta = SimpleNamespace(region_name="eu-central-1")

    def describe_secret(self, SecretId: str) -> dict[str, Any]:  # noqa: N803
        if self.denied:
            raise error("AccessDeniedException")
        if SecretId not in self.there:
            raise error("ResourceNotFoundException")
        return {"ARN": SecretId}

    def describe_parameters(self, ParameterFilters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        return {"Parameters": [one for one in ParameterFilters[0]["Values"] if one in self.there]}

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803
        return {"SecretString": self.there[SecretId]}

    def put_secret_value(self, SecretId: str, SecretString: str) -> None:  # noqa: N803
        self.there[SecretId] = SecretString

    def put_parameter(self, Name: str, Value: str, Type: str, Overwrite: bool) -> None:  # noqa: N803
        assert (Type, Overwrite) == ("SecureString", True)
        self.there[Name] = Value


def place(shape: Shape, there: Secrets, parameters: dict[str, str] | None = None, **decided: str) -> Any:
    environment = Environment("production", "shop-production", parameters=parameters or {}, shape=shape)
    session = SimpleNamespace(project="shop", environment=environment, cloud=None, client=lambda _: there)
    access = SimpleNamespace(parameters=lambda: decided)
    stack = SimpleNamespace(access=access, decided={})
    return SimpleNamespace(name="production", session=session, stack=stack)


def refusal(place: Any, shape: Shape) -> list[str]:
    with pytest.raises(Refused) as caught:
        handed.check(place, shape)
    first, *lines = str(caught.value).splitlines()
    assert first == "environment production can't run this yet:"
    return [line.removeprefix("  ") for line in lines]


def test_a_shape_that_says_nothing_is_not_asked_about() -> None:
    handed.check(place(Shape(), Secrets(denied=True)), Shape())


def test_what_is_there_and_may_be_read_is_good() -> None:
    secrets = {"A": f"{SECRET}:a-AbCdEf:key::", "B": "/shop/b", "C": f"{PARAMETER}/shop/c", "D": "{database.url}"}
    decided = {
        "SecretArns": f"{SECRET}:x-AbCdEf,{SECRET}:a-AbCdEf",
        "ParameterArns": f"{PARAMETER}/shop/b,{PARAMETER}/shop/c",
    }
    there = Secrets(f"{SECRET}:a-AbCdEf", "/shop/b", "/shop/c")
    shape = Shape(variables={"H": "{database.host}"}, secrets=secrets)
    handed.check(place(shape, there, {"DatabaseHost": "db"}, **decided), shape)


def test_all_that_is_missing_is_named() -> None:
    shape = Shape(
        (Process("web", port=8080),),
        (Job("nightly", ("x",), "rate(1 day)"),),
        {"DB_HOST": "x{database.host}"},
        {"A": f"{SECRET}:a-AbCdEf:key::", "B": "/shop/b", "C": f"{SECRET}:c-AbCdEf", "D": "{database.password}"},
    )
    anew = "run `lastgood bootstrap --environment production` as an administrator"
    where = "set DatabaseHost and DatabaseName in parameters below [tool.lastgood.environments.production]"
    there = place(shape, Secrets(f"{SECRET}:c-AbCdEf"))
    assert refusal(there, shape) == [
        f"variable DB_HOST stands for {{database.host}}, which DATABASE_URL alone knows here: {where}",
        f"secret D stands for {{database.password}}, which DATABASE_URL alone knows here: {where}",
        f"web listens on port 8080, where its security group lets nobody in: {anew}",
        f"secret A ({SECRET}:a-AbCdEf:key::): there is no such secret: make it",
        "secret B (/shop/b): there is no such parameter in this account and region: make it",
        f"secret C ({SECRET}:c-AbCdEf): the tasks may not read it: {anew}",
        f"jobs have schedules, and nobody has decided who may start them: {anew}",
    ]


def test_who_may_not_look_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    shape = Shape(secrets={"A": f"{SECRET}:a-AbCdEf"})
    handed.check(place(shape, Secrets(denied=True), SecretArns=f"{SECRET}:a-AbCdEf"), shape)
    assert f"whether {SECRET}:a-AbCdEf is there could not be seen (AccessDeniedException)" in capsys.readouterr().err


def test_a_deploy_is_refused_before_anything_is_touched(account: Any) -> None:
    from lastgood.deploy import deploy

    account.environment = Environment(
        "staging", "board-staging", url="https://board.example", shape=Shape(variables={"H": "{database.host}"})
    )
    build = BuildFacts("a", "a", "a", f"sha256:{'a' * 64}", "image", "m", 1)
    account.registry.add(build.digest)
    with pytest.raises(Refused, match="variable H stands for"):
        deploy.deploy(Place(account, account.folder), build, who="ada", reason="")
    assert (account.cloudformation.calls, account.table.items) == ([], {})


def local(tmp_path: Path) -> Any:
    made = place(Shape(secrets={"A": f"{SECRET}:a-AbCdEf", "B": "/b", "C": "{secret-key}"}), Secrets())
    made.session.cloud = SimpleNamespace(secrets_file=str(tmp_path / "secrets.toml"))
    return made


def test_secrets_of_this_machine(tmp_path: Path) -> None:
    here = local(tmp_path)
    shape = here.session.environment.shape
    said = "has no value on this machine: `lastgood secret set {0}` takes it from standard input"
    assert refusal(here, shape) == [f"secret {name} {said.format(name)}" for name in ("A", "B")]
    value = 'a "quoted" \\ line\nand another\x7f ü'
    file = Path(secret.put(here, "A", value))
    secret.put(here, "B", "b")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert handed.local_values(here.session) == {"A": value, "B": "b"}
    handed.check(here, shape)


def test_an_instance_of_an_older_version() -> None:
    made = place(Shape(variables={"A": "b"}), Secrets())
    made.session.cloud = SimpleNamespace(secrets_file="")
    said = "the one-machine cloud was brought up by an older lastgood: run `lastgood local up`"
    assert refusal(made, made.session.environment.shape) == [said]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "secrets.toml").write_text("A = hunter2\n", encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"secrets.toml can't be read \(.*\): it has one line NAME = \"value\" for each secret$"
    ) as caught:
        handed.local_values(local(tmp_path).session)
    assert "hunter2" not in str(caught.value)


def test_a_value_goes_to_its_place_and_other_keys_stay() -> None:
    there = Secrets()
    there.there = {f"{SECRET}:a-AbCdEf": json.dumps({"other": "1", "key": "2"}), f"{SECRET}:b-AbCdEf": ""}
    shape = Shape(
        secrets={"A": f"{SECRET}:a-AbCdEf:key::", "B": f"{SECRET}:b-AbCdEf", "C": "/shop/c", "D": f"{PARAMETER}/shop/d"}
    )
    at = place(shape, there)
    for name in "ABCD":
        assert secret.put(at, name, f"new {name}") == shape.secrets[name]
    assert there.there == {
        f"{SECRET}:a-AbCdEf": json.dumps({"other": "1", "key": "new A"}),
        f"{SECRET}:b-AbCdEf": "new B",
        "/shop/c": "new C",
        "/shop/d": "new D",
    }


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AA", "x", ("environment production has no secret 'AA' (did you mean 'A'?): it has A, B; add its place below "
         "[tool.lastgood.environments.production.secrets]")),
        ("B", "x", "secret B is {database.url}, which is not this project's to set: it is what the stack's own parameters name"),
        ("A", "", "standard input was empty: secret A stays as it is"),
        ("A", "x", f"what is at {SECRET}:a-AbCdEf:key:: is no JSON with keys: set the whole secret, or name another"),
    ],
)  # fmt: skip
def test_what_is_not_set(name: str, value: str, said: str) -> None:
    there = Secrets()
    there.there = {f"{SECRET}:a-AbCdEf": "plain"}
    with pytest.raises(UsageError) as caught:
        secret.put(place(Shape(secrets={"A": f"{SECRET}:a-AbCdEf:key::", "B": "{database.url}"}), there), name, value)
    assert str(caught.value) == said
    assert there.there == {f"{SECRET}:a-AbCdEf": "plain"}
