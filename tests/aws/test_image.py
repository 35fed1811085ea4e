"""Images: built and pushed by a command that stands for Docker, which is not to be had here."""

from __future__ import annotations

import json
import re
import stat
import sys

import pytest

from lokki.errors import BuildError, ConfigError

pytestmark = pytest.mark.timeout(120)
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
SCRIPT = f"""#!{sys.executable} -S
import contextlib, json, os, pathlib, sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

command, *rest = sys.argv[1:]
log = pathlib.Path({{log!r}})
with log.open("a") as file:
    print(command, *rest, file=file)
if command == "login":
    log.with_suffix(".given").write_text(sys.stdin.read())
if command == "push" and command != {{fails!r}}:
    repository, _, tag = rest[0].partition("/")[2].rpartition(":")
    image = {{{{"mediaType": "application/vnd.oci.image.manifest.v1+json", "of": {{image!r}}}}}}
    given = {{{{"repositoryName": repository, "imageTag": tag}}}}
    given["imageManifest"] = json.dumps(image)
    call = Request(os.environ["AWS_ENDPOINT_URL"], json.dumps(given).encode())
    call.add_header("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921.PutImage")
    call.add_header("Content-Type", "application/x-amz-json-1.1")
    call.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=any/1/us-east-1/ecr/aws4_request")
    with contextlib.suppress(HTTPError):  # the tag is there, and names this image
        urlopen(call)
sys.exit(command == {{fails!r}})
"""


@pytest.fixture
def pushing(cloud, monkeypatch, tmp_path):
    """Deploys an image, with what Docker was called with; nothing tells of an endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.config().aws.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    return Pushing(cloud, monkeypatch, tmp_path)


class Pushing:
    def __init__(self, cloud, monkeypatch, folder):
        self.cloud = cloud
        self.log = folder / "docker.log"
        self.prefix = f"{REGISTRY}/{cloud.name}"
        self._folder = folder
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        self.docker()

    def docker(self, fails="nothing", image="the first"):
        """What stands for Docker pushes this image."""
        script = self._folder / "docker"
        script.write_text(SCRIPT.format(log=str(self.log), fails=fails, image=image))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def deploy(self, **settings):
        self.log.unlink(missing_ok=True)
        return self.cloud.deploy(
            **{
                "aws.endpoint": None,
                "aws.ecr_repo_prefix": self.prefix,
                "lambda.package_type": "image",
                **settings,
            }
        )

    @property
    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def image(self):
        functions = self.cloud.client("lambda").list_functions()["Functions"]
        (one,) = [each for each in functions if "greet" in each["FunctionName"].lower()][:1]
        told = self.cloud.client("lambda").get_function(FunctionName=one["FunctionName"])
        return told["Code"]["ImageUri"]


def test_an_image_is_built_and_pushed_under_the_hash_of_what_it_is_made_of(pushing):
    assert pushing.deploy().changed
    login, built, pushed = pushing.calls
    assert login == f"login --username AWS --password-stdin {REGISTRY}"
    uri = pushed.removeprefix("push ")
    assert uri.startswith(f"{pushing.prefix}/lokki:")
    assert built.startswith(f"build --platform linux/amd64 --tag {uri} ")
    assert f"made the repository {pushing.cloud.name}/lokki" in pushing.cloud.told
    token = pushing.log.with_suffix(".given").read_text()
    assert token
    assert token not in json.dumps([pushing.cloud.told, pushing.calls])
    assert pushing.image().startswith(f"{uri}-")
    assert not pushing.deploy().changed
    assert pushing.calls == []


@pytest.mark.parametrize("tag", ["v7", "latest"])
def test_a_tag_that_is_chosen_is_taken(pushing, tag):
    pushing.deploy(**{"lambda.image_tag": tag})
    assert pushing.calls[-1] == f"push {pushing.prefix}/lokki:{tag}"
    assert not pushing.deploy(**{"lambda.image_tag": tag}).changed
    assert pushing.calls[-1] == f"push {pushing.prefix}/lokki:{tag}"


def test_another_image_under_the_same_tag_is_another_version_and_the_last_one_stays(pushing):
    """Lambda reads a tag only when a function is updated
    (https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html)."""

    def named():
        (machine,) = [
            each["stateMachineArn"]
            for each in pushing.cloud.client("stepfunctions").list_state_machines()["stateMachines"]
            if each["name"] == pushing.cloud.flow
        ]
        told = pushing.cloud.client("stepfunctions").describe_state_machine(stateMachineArn=machine)
        return set(re.findall(r"arn:aws:lambda:[^\"]*:\d+", told["definition"]))

    pushing.deploy(**{"lambda.image_tag": "v7"})
    first, before = pushing.image(), named()
    pushing.docker(image="the second")
    assert pushing.deploy(**{"lambda.image_tag": "v7"}).changed
    assert pushing.image() != first
    assert first.startswith(f"{pushing.prefix}/lokki:v7-")
    assert before.isdisjoint(named())
    images = pushing.cloud.client("ecr").describe_images(
        repositoryName=f"{pushing.cloud.name}/lokki"
    )
    assert first.partition(":")[2] in [
        tag for each in images["imageDetails"] for tag in each.get("imageTags", ())
    ]


@pytest.mark.parametrize("command", ["login", "build", "push"])
def test_a_command_that_fails_ends_the_deploy_and_makes_no_stack(pushing, command):
    pushing.docker(command)
    with pytest.raises(BuildError, match=f"`docker {command}` failed, see its output above"):
        pushing.deploy()
    assert pushing.cloud.status() is None


def test_nothing_is_pushed_to_an_emulator(pushing):
    endpoint = pushing.cloud.config().aws.endpoint
    pushing.deploy(**{"aws.ecr_repo_prefix": "", "aws.endpoint": endpoint})
    assert pushing.calls == []


def test_an_account_without_a_registry_is_refused_before_the_stack(pushing):
    with pytest.raises(ConfigError, match=r"no registry .*: set aws\.ecr_repo_prefix to"):
        pushing.deploy(**{"aws.ecr_repo_prefix": ""})
    assert (pushing.calls, pushing.cloud.status()) == ([], None)
