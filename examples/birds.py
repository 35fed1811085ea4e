"""The smallest flow: a source, a map, an aggregation."""

from lokki import flow, main, step


@step
def get_birds():
    return ["goose", "duck", "seagul"]


@step
def flap_bird(bird):
    return f"flappy {bird}"


@step
def join_birds(birds):
    return ", ".join(birds)


@flow
def birds_flow():
    return get_birds().map(flap_bird).agg(join_birds)


if __name__ == "__main__":
    main(birds_flow)
