"""Images: built and pushed by a command that stands for Docker, which is not to be had here."""

from __future__ import annotations

import json
import stat

import pytest

from lokki.errors import BuildError, ConfigError

pytestmark = pytest.mark.timeout(120)
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
SCRIPT = """#!/bin/sh
echo "$@" >> {log}
[ "$1" = login ] && cat >> {log}.given
[ "$1" != {fails} ]
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

    def docker(self, fails="nothing"):
        script = self._folder / "docker"
        script.write_text(SCRIPT.format(log=self.log, fails=fails))
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
    token = pushing.log.with_name("docker.log.given").read_text()
    assert token
    assert token not in json.dumps([pushing.cloud.told, pushing.calls])
    assert pushing.image() == uri


@pytest.mark.parametrize("tag", ["v7", "latest"])
def test_a_tag_that_is_chosen_is_taken(pushing, tag):
    pushing.deploy(**{"lambda.image_tag": tag})
    assert pushing.calls[-1] == f"push {pushing.prefix}/lokki:{tag}"
    pushing.deploy(**{"lambda.image_tag": tag})
    assert pushing.calls[-1] == f"push {pushing.prefix}/lokki:{tag}"


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
