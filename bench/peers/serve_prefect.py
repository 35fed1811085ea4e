"""Prefect: the flows of `server.py`, served to a server of Prefect's by a runner."""

import sys

from prefect import flow, serve, task
from prefect.task_runners import ThreadPoolTaskRunner


@task
def get_birds():
    return ["goose", "duck", "seagul"]


@task
def flap_bird(bird):
    return f"flappy {bird}"


@task
def join_birds(birds):
    return ", ".join(birds)


@flow
def birds():
    return join_birds([each.result() for each in flap_bird.map(get_birds())])


@task
def one():
    return 1


@flow
def single():
    return one()


@task
def crunch(number):
    return sum(range(number % 20_000))


@flow(task_runner=ThreadPoolTaskRunner(max_workers=8))
def crunching(count: int):
    for each in crunch.map(range(count)):
        each.wait()


if __name__ == "__main__":
    serve(
        *(each.to_deployment(each.name) for each in (birds, single, crunching)),
        limit=int(sys.argv[1]),
    )
