"""The documents of a build are what AWS takes: by its validators, and by those kept here."""

from __future__ import annotations

import builtins
import json
import re
import sys
from pathlib import Path

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs
from hypothesis import given
from test_states import graphs

import lokki
from lokki import flow, step
from lokki.builder.permissions import source_notes
from lokki.builder.states import state_machine
from lokki.builder.template import template
from lokki.config import Config, load
from lokki.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
QUEUE = {"batch.job_queue": "the-queue"}


@step
def get_items(limit: int = 3):
    return list(range(limit))


@step(retry={"retries": 3, "delay": 0.5, "exceptions": (OSError,)}, timeout_seconds=30)
def work(item):
    return item


@step(memory_mb=2048)
def tidy(item):
    return item


@step(job_type="batch", vcpu=4, memory_mb=16384, timeout_seconds=7200, retry={"retries": 2})
def train(items):
    return items


@step
def report(items):
    return items


@flow(schedule="cron(0 9 * * ? *)", timezone="Europe/Helsinki")
def everything(limit: int = 3):
    """Every kind of state."""
    return (
        get_items()
        .map(work, concurrency_limit=20, tolerated_failures=0.1)
        .next(tidy)
        .agg(report)
        .map(tidy, batch_size=50)
        .agg(train)
        .map([work, tidy], direct_pass=True, tolerated_failures=2)
        .agg(report)
    )


def _example(name):
    sys.path.insert(0, str(EXAMPLES))
    module = __import__(name)
    (found,) = [each for each in vars(module).values() if type(each).__name__ == "Flow"]
    return found


FLOWS = {
    "birds": (lambda: _example("birds").outline(), {}),
    "pages": (lambda: _example("pages").outline(), {}),
    "reads": (lambda: _example("reads").outline(), {"lambda.package_type": "zip"}),
    "everything": (everything, QUEUE),
    "own-queue": (
        everything,
        {"batch.subnets": "subnet-0a1b2c3d", "batch.security_groups": "sg-0a1b2c3d"},
    ),
}


@step(ephemeral_storage=4096)
def unpack(item):
    return item


@step(job_type="batch", ephemeral_storage=40_000)
def index(items):
    return items


@step(job_type="batch", gpu=1, vcpu=4, memory_mb=15_000)
def learn(items):
    return items


@flow
def sized():
    """Steps with what others have not."""
    return get_items().map(unpack).agg(index).next(learn).next(report)


OPTIONS = {
    "aws.map": "express",
    "aws.network.subnets": "subnet-0a1b2c3d, subnet-1a1b2c3d",
    "aws.network.security_groups": "sg-0a1b2c3d",
    "aws.permissions_boundary": "arn:aws:iam::123456789012:policy/boundary",
    "aws.policies": "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess",
    "aws.statements": [
        {
            "Effect": "Allow",
            "Action": ["sqs:SendMessage"],
            "Resource": "arn:aws:sqs:us-east-1:123456789012:birds",
            "Condition": {"Bool": {"aws:SecureTransport": "true"}},
        }
    ],
    "aws.kms_key": "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d-0000",
    "aws.state_machine_logs": "ERROR",
    "aws.log_retention": 90,
    "aws.notify": "birds@example.com",
    "aws.schedule.retries": 5,
    "aws.schedule.max_age": 3600,
    "aws.schedule.dead_letter_queue": "new",
    "aws.tracing": True,
    "aws.tags": {"team": "birds"},
    "lambda.package_type": "zip",
    "lambda.timeout": 60,
    "lambda.ephemeral_storage": 2048,
    "lambda.layers": "arn:aws:lambda:us-east-1:123456789012:layer:one:1",
}


@flow(schedule="cron(0 6 * * ? *)", timezone="Europe/Helsinki")
def slices(limit: int = 3):
    return get_items(limit).map(work, concurrency_limit=5).next(tidy).agg(report)


def in_slices():
    return slices()


@flow
def jobs():
    return get_items().map(unpack).next(learn).agg(index)


def in_jobs():
    return jobs()


COMPUTE = {
    "batch.subnets": "subnet-0a1b2c3d",
    "batch.security_groups": "sg-0a1b2c3d",
    "lambda.reserved_concurrency": 50,
    "batch.spot": True,
}
FLOWS["compute"] = (sized, COMPUTE)
DURABLE = {
    "aws.target": "durable",
    **{name: value for name, value in OPTIONS.items() if name != "aws.map"},
}
FLOWS["durable"] = (in_slices, DURABLE)
FLOWS["durable-jobs"] = (
    in_jobs,
    {
        "aws.target": "durable",
        "batch.subnets": "subnet-0a1b2c3d",
        "batch.security_groups": "sg-0a1b2c3d",
        "batch.gpu_job_queue": "gpus",
    },
)
FLOWS["options"] = (everything, {**QUEUE, **OPTIONS})


def made(graph, **settings):
    config = load({"aws.artifact_bucket": "a-bucket", **settings})
    return json.loads(json.dumps(template(graph, config, module="flows", python="3.13").to_json()))


def stable(document):
    """A template without the names of exceptions of modules that happen to be imported here."""
    known = {*dir(builtins), *dir(lokki)}

    def cleaned(value):
        if isinstance(value, list):
            return [cleaned(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {
            name: [error for error in each if "." in error or error in known]
            if name == "ErrorEquals"
            else cleaned(each)
            for name, each in value.items()
        }

    return cleaned(document)


def linted(document):
    """What cfn-lint says of a template, warnings included."""
    matches = lint(json.dumps(document), config=ManualArgs(regions=["us-east-1"]))
    return [(match.rule.id, match.message, match.path) for match in matches]


@pytest.mark.parametrize("name", FLOWS)
def test_the_template_is_right_and_as_it_was(name, problems_of_machine, request):
    graph, settings = FLOWS[name]
    document = made(graph(), **settings)
    assert linted(document) == []
    machine = document["Resources"].get("StateMachine")
    if machine is not None:
        assert problems_of_machine(machine["Properties"]["Definition"]) == []
    document = stable(document)
    golden = GOLDEN / f"{name}.json"
    if request.config.getoption("--update-golden"):
        golden.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    assert document == json.loads(golden.read_text()), "see --update-golden in CONTRIBUTING.md"


def test_the_validators_find_what_is_wrong(problems_of_machine):
    document = made(everything(), **QUEUE)
    machine = document["Resources"]["StateMachine"]["Properties"]["Definition"]
    machine["States"]["GetItems"]["Next"] = "Nowhere"
    assert problems_of_machine(machine)
    del document["Resources"]["GetItemsImageFunction"]["Properties"]["Role"]
    assert linted(document)


@pytest.mark.timeout(240)  # it asks the validator a hundred times, and others may be busy
@given(graphs())
def test_every_flow_compiles_to_what_the_validator_takes(problems_of_machine, graph):
    assert problems_of_machine(state_machine(graph, Config()).to_json()) == []


def test_nothing_in_a_template_is_null():
    """CloudFormation refuses null values, and moto drops them."""

    def nulls(value, path=()):
        if value is None:
            yield path
        elif isinstance(value, dict | list):
            each = value.items() if isinstance(value, dict) else enumerate(value)
            for name, inner in each:
                yield from nulls(inner, (*path, name))

    assert list(nulls(made(everything(), **QUEUE))) == []


# ---- what an earlier compiler got wrong ----------------------------------------------------------


def test_two_flows_may_share_steps():
    @flow
    def one():
        return get_items().map(tidy).agg(report)

    @flow
    def other():
        return get_items().next(report).next(tidy)

    before = made(one())
    made(other())
    assert made(one()) == before
    assert [call.name for call in other().calls] == ["get_items", "report", "tidy"]


def test_a_definition_has_nothing_of_cloudformations_in_it():
    definition = made(everything(), **QUEUE)["Resources"]["StateMachine"]["Properties"]
    text = json.dumps(definition["Definition"])
    assert '"Ref"' not in text
    assert "Fn::" not in text
    named = set(re.findall(r"\$\{(\w+)\}", text))
    assert named == set(definition["DefinitionSubstitutions"])


def test_no_account_is_written_into_a_template():
    text = json.dumps(made(everything(), **QUEUE))
    assert not re.search(r"(?<!\d)\d{12}(?!\d)", text)


def test_tags_and_a_boundary_change_no_version_and_no_role_that_executions_use():
    before, after = (
        made(everything(), **{**QUEUE, **OPTIONS, **more})["Resources"]
        for more in ({}, {"aws.tags": {"team": "owls"}, "aws.permissions_boundary": None})
    )
    kinds = ("AWS::Lambda::Version", "AWS::IAM::Role")
    of_kinds = [
        {name for name, each in resources.items() if each["Type"] in kinds}
        for resources in (before, after)
    ]
    assert of_kinds[0] == of_kinds[1]


@pytest.mark.parametrize("name", ["subnets", "security_groups"])
def test_a_network_needs_subnets_and_security_groups(name):
    with pytest.raises(ConfigError, match=r"need both aws\.network\.subnets and aws\.network\.sec"):
        made(everything(), **QUEUE, **{f"aws.network.{name}": "one-0a1b2c3d"})


# ---- what it says --------------------------------------------------------------------------------


def test_a_function_a_step_with_what_the_step_asks_for():
    resources = made(everything(), **QUEUE, **{"lambda.memory": 300, "lambda.env": {"A": "b"}})[
        "Resources"
    ]
    functions = {
        name: each["Properties"]
        for name, each in resources.items()
        if each["Type"] == "AWS::Lambda::Function"
    }
    assert set(functions) == {
        f"{state}ImageFunction"
        for state in ("GetItems", "Work", "Tidy", "Report", "Tidy2", "Work2", "Report2")
    }
    assert functions["WorkImageFunction"]["Timeout"] == 40, "ten seconds to read and to store"
    assert functions["WorkImageFunction"]["MemorySize"] == 300
    assert functions["GetItemsImageFunction"]["Timeout"] == 900
    assert functions["TidyImageFunction"]["MemorySize"] == 2048
    assert functions["Work2ImageFunction"]["MemorySize"] == 2048, "the most of what it calls"
    assert functions["WorkImageFunction"]["Environment"]["Variables"] == {
        "A": "b",
        "LOKKI_FLOW_NAME": "everything",
        "LOKKI_STEP_NAME": "work",
        "LOKKI_MODULE_NAME": "flows",
        "LOKKI_ARTIFACT_BUCKET": {"Ref": "S3Bucket"},
    }


def test_a_step_has_the_disk_that_it_asks_for_and_others_have_none():
    resources = made(sized(), **COMPUTE)["Resources"]
    functions = {
        name: each["Properties"]
        for name, each in resources.items()
        if each["Type"] == "AWS::Lambda::Function"
    }
    assert functions["UnpackImageFunction"]["EphemeralStorage"] == {"Size": 4096}
    assert "EphemeralStorage" not in functions["ReportImageFunction"]
    job = the(resources, "IndexJob")["Properties"]["ContainerProperties"]
    assert job["EphemeralStorage"] == {"SizeInGiB": 40}


def test_functions_are_reserved_for_the_steps_of_a_map_which_is_as_wide():
    document = made(sized(), **COMPUTE)
    resources, version = document["Resources"], "UnpackVersion"
    assert resources["UnpackImageFunction"]["Properties"]["ReservedConcurrentExecutions"] == 50
    assert "ReservedConcurrentExecutions" not in resources["ReportImageFunction"]["Properties"]
    states = resources["StateMachine"]["Properties"]["Definition"]["States"]
    assert states["MapUnpack"]["MaxConcurrency"] == 50
    more = made(sized(), **{**COMPUTE, "lambda.reserved_concurrency": 60})["Resources"]
    versions = [name for name in resources if name.startswith(version)]
    assert versions == [name for name in more if name.startswith(version)], "it publishes no other"


def test_a_job_with_a_gpu_has_hosts_and_a_queue_of_its_own():
    resources = made(sized(), **COMPUTE)["Resources"]
    learns, indexes = (the(resources, name)["Properties"] for name in ("LearnJob", "IndexJob"))
    assert learns["ContainerProperties"]["ResourceRequirements"] == [
        {"Type": "VCPU", "Value": "4"},
        {"Type": "MEMORY", "Value": "15000"},
        {"Type": "GPU", "Value": "1"},
    ]
    assert learns["PlatformCapabilities"] == ["EC2"]
    assert not {"NetworkConfiguration", "RuntimePlatform"} & learns["ContainerProperties"].keys()
    assert indexes["PlatformCapabilities"] == ["FARGATE"]
    machine = resources["StateMachine"]["Properties"]
    states, values = machine["Definition"]["States"], machine["DefinitionSubstitutions"]
    assert states["Learn"]["Parameters"]["JobQueue"] == "${GpuJobQueue}"
    assert states["Index"]["Parameters"]["JobQueue"] == "${JobQueue}"
    assert values["GpuJobQueue"] == {"Ref": "GpuSpotJobQueue"}
    assert values["JobQueue"] == {"Ref": "SpotJobQueue"}
    hosts = resources["GpuSpotComputeEnvironment"]["Properties"]["ComputeResources"]
    assert (hosts["Type"], hosts["InstanceTypes"]) == ("SPOT", ["g4dn", "g5", "g6"])
    hosts = resources["SpotComputeEnvironment"]["Properties"]["ComputeResources"]
    assert hosts["Type"] == "FARGATE_SPOT"


def test_a_job_on_spot_capacity_runs_again_when_its_host_is_reclaimed():
    resources = made(sized(), **COMPUTE)["Resources"]
    assert the(resources, "IndexJob")["Properties"]["RetryStrategy"] == {
        "Attempts": 10,
        "EvaluateOnExit": [
            {"OnExitCode": "64", "Action": "EXIT"},
            {"OnStatusReason": "Host EC2*", "Action": "RETRY"},
            {"OnStatusReason": "Your Spot Task was interrupted*", "Action": "RETRY"},
            {"OnReason": "*", "Action": "EXIT"},
        ],
    }


EC2 = {
    "batch.platform": "EC2",
    "batch.subnets": "subnet-0a1b2c3d",
    "batch.security_groups": "sg-0a1b2c3d",
}


def test_jobs_on_ec2_have_hosts_of_their_architecture():
    document = made(everything(), **EC2, **{"lambda.architecture": "arm64"})
    assert linted(document) == []
    resources = document["Resources"]
    hosts = resources["Ec2ComputeEnvironment"]["Properties"]["ComputeResources"]
    assert (hosts["Type"], hosts["InstanceTypes"]) == ("EC2", ["default_arm64"])
    assert hosts["InstanceRole"] == {"Fn::GetAtt": ["HostProfile", "Arn"]}
    order = resources["Ec2JobQueue"]["Properties"]["ComputeEnvironmentOrder"]
    assert order == [{"Order": 1, "ComputeEnvironment": {"Ref": "Ec2ComputeEnvironment"}}]
    chosen = made(everything(), **EC2, **{"batch.instance_types": "c7i, m7i.large"})["Resources"]
    hosts = chosen["Ec2ComputeEnvironment"]["Properties"]["ComputeResources"]
    assert hosts["InstanceTypes"] == ["c7i", "m7i.large"]


@pytest.mark.parametrize(
    ("settings", "queues"),
    [
        ({**QUEUE, "batch.gpu_job_queue": "the-gpus"}, ("the-queue", "the-gpus")),
        ({**QUEUE, "batch.platform": "EC2"}, ("the-queue", "the-queue")),
        ({**EC2, **QUEUE, "batch.platform": "FARGATE"}, ("the-queue", {"Ref": "GpuJobQueue"})),
    ],
)
def test_jobs_with_and_without_a_gpu_may_have_a_named_queue(settings, queues):
    @flow
    def learned():
        return get_items().next(train).next(learn)

    resources = made(learned(), **settings)["Resources"]
    values = resources["StateMachine"]["Properties"]["DefinitionSubstitutions"]
    assert (values["JobQueue"], values["GpuJobQueue"]) == queues


def test_a_step_with_a_gpu_and_no_queue_says_what_to_set():
    told = "step 'learn' runs in AWS Batch with a GPU.*batch.gpu_job_queue, or batch.subnets"
    with pytest.raises(ConfigError, match=told):
        made(sized(), **QUEUE)


def test_a_zip_is_where_the_bucket_has_it():
    document = made(everything(), **QUEUE, **{"lambda.package_type": "zip"})
    function = document["Resources"]["WorkZipFunction"]["Properties"]
    assert function["Code"] == {"S3Bucket": {"Ref": "S3Bucket"}, "S3Key": {"Ref": "PackageKey"}}
    assert (function["Runtime"], function["Handler"]) == ("python3.13", "handler.handler")
    assert document["Parameters"]["PackageKey"]["Default"] == (
        "everything/artifacts/lambdas/function.zip"
    )
    image = the(document["Resources"], "TrainJob")["Properties"]["ContainerProperties"]["Image"]
    assert "Fn::If" in image, "a Batch job has the image, whatever functions have"


def test_the_parameters_are_those_that_were_promised():
    parameters = made(everything(), **QUEUE)["Parameters"]
    assert {name: each.get("Default") for name, each in parameters.items()} == {
        "FlowName": "everything",
        "S3Bucket": "a-bucket",
        "ECRRepoPrefix": "",
        "ImageTag": "latest",
    }


def test_roles_that_are_given_are_taken_and_none_are_made():
    pipeline, functions = "arn:aws:iam::1:role/pipeline", "arn:aws:iam::1:role/functions"
    settings = {"aws.roles.pipeline": pipeline, "aws.roles.lambda": functions}
    resources = made(_example("birds").outline(), **settings)["Resources"]
    assert not [each for each in resources.values() if each["Type"].startswith("AWS::IAM")]
    assert resources["StateMachine"]["Properties"]["RoleArn"] == pipeline
    assert resources["FlapBirdImageFunction"]["Properties"]["Role"] == functions


def the(resources, name):
    """The one resource of this name, with or without the hash of its content."""
    (found,) = (
        each for known, each in resources.items() if re.fullmatch(f"{name}([0-9a-f]{{8}})?", known)
    )
    return found


def actions(resources, role):
    statements = the(resources, role)["Properties"].get("Policies", [])
    return {
        action
        for each in statements
        for statement in each["PolicyDocument"]["Statement"]
        for action in statement["Action"]
    }


def test_roles_may_do_what_the_graph_makes_them_do_and_no_more():
    @flow
    def alone():
        return get_items()

    resources = made(alone())["Resources"]
    assert actions(resources, "MachineRole") == {"lambda:InvokeFunction"}
    assert not [name for name in resources if name.startswith("MachineOwnPolicy")]
    resources = made(_example("birds").outline())["Resources"]
    assert actions(resources, "MachineRole") == {
        "lambda:InvokeFunction", "s3:GetObject", "s3:PutObject", "s3:ListMultipartUploadParts",
        "s3:AbortMultipartUpload",
    }  # fmt: skip
    own = the(resources, "MachineOwnPolicy")["Properties"]["PolicyDocument"]["Statement"]
    assert {action for each in own for action in each["Action"]} == {
        "states:StartExecution", "states:DescribeExecution", "states:StopExecution",
        "states:RedriveExecution",
    }  # fmt: skip
    resources = made(everything(), **QUEUE)["Resources"]
    assert {"batch:SubmitJob", "events:PutRule"} <= actions(resources, "MachineRole")


def test_steps_may_read_what_their_flow_begins_with_in_s3_and_nothing_else_there():
    @flow
    def known():
        return lokki.s3_objects("s3://inputs/birds/2026").map(tidy).agg(report)

    statements = the(made(known())["Resources"], "StepRole")["Properties"]["Policies"][0][
        "PolicyDocument"
    ]["Statement"]
    theirs = [each for each in statements if "s3:::inputs" in str(each["Resource"])]
    bucket = "arn:${AWS::Partition}:s3:::inputs"
    assert [(each["Action"], each["Resource"]) for each in theirs] == [
        (["s3:GetObject"], [{"Fn::Sub": f"{bucket}/birds/2026*"}]),
        (["s3:ListBucket"], [{"Fn::Sub": bucket}]),
    ]
    assert theirs[1]["Condition"] == {"StringLike": {"s3:prefix": ["birds/2026*"]}}


def test_a_place_in_s3_that_only_a_run_knows_is_noted():
    @flow
    def unknown(url: str):
        return lokki.s3_rows().map(tidy).agg(report)

    @flow
    def by_default(url: str = "s3://inputs/birds.csv"):
        return lokki.s3_rows().map(tidy).agg(report)

    assert "inputs" not in str(made(unknown.outline())["Resources"])
    assert "s3:::inputs/birds.csv*" in str(made(by_default.outline())["Resources"])
    (note,) = source_notes(unknown.outline(), load())
    assert "allow it in aws.statements" in note
    assert list(source_notes(by_default.outline(), load())) == []


def test_a_flow_of_many_steps_has_policies_with_room_for_them():
    @flow
    def long():
        chain = get_items()
        for _ in range(99):
            chain = chain.next(report)
        return chain

    document = made(long())
    assert linted(document) == []
    resources = document["Resources"]
    policies = [
        the(resources, "MachineRole")["Properties"]["Policies"][0]["PolicyDocument"],
        *(
            each["Properties"]["PolicyDocument"]
            for each in resources.values()
            if each["Type"] == "AWS::IAM::ManagedPolicy"
        ),
    ]
    named = [each["Statement"][0]["Resource"] for each in policies]
    assert [len(each) for each in named] == [40, 40, 20]
    assert len({str(arn) for each in named for arn in each}) == 100


def test_a_secret_is_in_a_template_by_its_arn_alone():
    arn = "arn:aws:secretsmanager:eu-north-1:123456789012:secret:token-AbCdEf"
    document = made(_example("birds").outline(), **{"lambda.env": {"TOKEN": arn}})
    assert "secretsmanager:GetSecretValue" in actions(document["Resources"], "StepRole")
    statement = the(document["Resources"], "StepRole")["Properties"]["Policies"][0][
        "PolicyDocument"
    ]["Statement"][-1]
    assert statement["Resource"] == [arn]


def test_a_batch_step_without_a_queue_says_what_to_set():
    with pytest.raises(ConfigError, match=r"step 'train' runs in AWS Batch.*batch.job_queue"):
        made(everything())


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-north-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_integrations_are_those_of_the_regions_partition(region, partition):
    machine = state_machine(everything(), load({"aws.region": region})).to_json()
    assert machine["States"]["GetItems"]["Resource"].startswith(f"arn:{partition}:states:")


def test_a_schedule_starts_the_state_machine():
    resources = made(everything(), **QUEUE)["Resources"]
    schedule = resources["Schedule"]["Properties"]
    assert schedule["ScheduleExpression"] == "cron(0 9 * * ? *)"
    assert schedule["Target"]["Arn"] == {"Ref": "StateMachine"}
    assert schedule["Target"]["Input"] == "{}"
    assert actions(resources, "ScheduleRole") == {"states:StartExecution"}
    assert schedule["ScheduleExpressionTimezone"] == "Europe/Helsinki"


def test_runs_of_a_schedule_have_the_tags_of_the_flow():
    tagged = flow(schedule="rate(1 day)", tags=["nightly"])(everything.fn)
    resources = made(tagged(), **QUEUE)["Resources"]
    given = json.loads(resources["Schedule"]["Properties"]["Target"]["Input"])
    assert given == {"lokki:tags": ["nightly"]}


def test_a_schedule_without_a_time_zone_follows_utc():
    @flow(schedule="cron(0 9 * * ? *)")
    def morning():
        return get_items()

    assert (
        "ScheduleExpressionTimezone" not in made(morning())["Resources"]["Schedule"]["Properties"]
    )
