"""The commit that a run's code is of."""

from __future__ import annotations

import subprocess

import pytest

from lokki.engine.checkout import commit_of


@pytest.fixture
def git(tmp_path):
    """Runs git in a new repository with one commit, and returns what it prints."""

    def git(*arguments, inside="repository"):
        settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
        command = ["git", "-C", tmp_path / inside, *settings, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "repository" / "flows").mkdir(parents=True)
    git("init")
    git("commit", "--allow-empty", "-m", "first")
    return git


def test_the_commit_is_that_of_the_branch(tmp_path, git):
    file = tmp_path / "repository" / "flows" / "birds.py"
    first = git("rev-parse", "HEAD")
    assert commit_of(file) == first
    git("commit", "--allow-empty", "-m", "second")
    assert commit_of(file) == git("rev-parse", "HEAD") != first
    git("pack-refs", "--all")
    assert commit_of(file) == git("rev-parse", "HEAD")
    git("checkout", "--detach", first)
    assert commit_of(file) == first


def test_a_worktree_has_its_own(tmp_path, git):
    git("worktree", "add", "-b", "other", "../other")
    git("commit", "--allow-empty", "-m", "second", inside="other")
    assert commit_of(tmp_path / "other" / "birds.py") == git("rev-parse", "other")
    assert commit_of(tmp_path / "repository" / "birds.py") == git("rev-parse", "main")


def test_without_a_commit_there_is_none(tmp_path):
    assert commit_of(tmp_path / "birds.py") is None
    subprocess.run(["git", "init", tmp_path], check=True, capture_output=True)
    assert commit_of(tmp_path / "birds.py") is None
    (tmp_path / ".git" / "HEAD").write_bytes(b"\xff")
    assert commit_of(tmp_path / "birds.py") is None
