import math
import re
from functools import partial

import cloudpickle
import pytest

from lokki import FlowGraph, MapBlock, MapStage, RetryConfig, Step, StepNode, TaskStage, step
from lokki.errors import DefinitionError
from lokki.steps import MAP_OPTIONS, OPTIONS, input_and_names


@step
def a(limit=3):
    return list(range(limit))


@step
def b(item, factor=1):
    return item * factor


@step
def c(item, factor=1):
    return item + factor


@step
def d(items):
    return sum(items)


@step
def nothing():
    return 1


@step
def keywords_only(*, factor):
    return factor


@step
def anything(*args, **kwargs):
    return args, kwargs


@step
def odd_names(item, step=1, self=2, verb=3):
    return item, step, self, verb


def plain(item):
    return item


def stages(chain):
    """Every call of a chain as (kind of the stage, step, constants), in order."""
    return [
        (type(stage), [(call.step, call.args, dict(call.kwargs)) for call in stage.calls])
        for stage in chain.stages
    ]


def refused(match):
    return pytest.raises(DefinitionError, match=match)


def says(text):
    return refused(re.escape(text))


# Links


def test_a_chain_keeps_every_link_in_order():
    chain = a().map(b).next(c).agg(d).next(a).map(c).agg(d)
    assert stages(chain) == [
        (TaskStage, [(a, (), {})]),
        (MapStage, [(b, (), {}), (c, (), {})]),
        (TaskStage, [(d, (), {})]),
        (TaskStage, [(a, (), {})]),
        (MapStage, [(c, (), {})]),
        (TaskStage, [(d, (), {})]),
    ]


def test_the_first_call_keeps_its_arguments():
    assert stages(a(5)) == [(TaskStage, [(a, (5,), {})])]
    assert stages(a(limit=5)) == [(TaskStage, [(a, (), {"limit": 5})])]


def test_links_keep_their_constants():
    chain = a().map(b, factor=2).next(c, factor=3).agg(anything, x=4).next(b, factor=5)
    assert stages(chain) == [
        (TaskStage, [(a, (), {})]),
        (MapStage, [(b, (), {"factor": 2}), (c, (), {"factor": 3})]),
        (TaskStage, [(anything, (), {"x": 4})]),
        (TaskStage, [(b, (), {"factor": 5})]),
    ]


def test_each_use_of_a_step_has_its_own_constants():
    chain = a().next(b, factor=2).next(b, factor=3)
    assert [stage.call.kwargs for stage in chain.stages] == [{}, {"factor": 2}, {"factor": 3}]


def test_constants_may_have_any_name_the_step_takes():
    constants = {"step": 3, "self": 4, "verb": 5}
    for chain in (
        a().next(odd_names, **constants),
        a().map(odd_names, **constants),
        a().map(b).map(odd_names, **constants),
        a().map(b).agg(odd_names, **constants),
    ):
        assert chain.stages[-1].calls[-1].kwargs == constants
    assert anything(self=1, args=2).stages[0].call.kwargs == {"self": 1, "args": 2}


@pytest.mark.parametrize("inner", [[b, c], (b, c)])
def test_a_list_of_steps_is_an_inner_chain(inner):
    options = {"concurrency_limit": 2, "tolerated_failures": 0.5}
    assert a().map(inner, **options).stages == a().map(b, **options).next(c).stages


def test_a_list_of_one_step_takes_constants():
    assert a().map([b], factor=3).stages == a().map(b, factor=3).stages


def test_map_in_a_block_is_the_same_as_next():
    assert a().map(b).map(c, factor=3).stages == a().map(b).next(c, factor=3).stages


def test_map_options_are_kept_when_the_block_grows():
    options = {
        "concurrency_limit": 4,
        "batch_size": 8,
        "tolerated_failures": 0.25,
        "direct_pass": True,
    }
    opened, grown = a().map(b, **options), a().map(b, **options).next(c)
    for chain in (opened, grown, grown.agg(d)):
        block = chain.stages[1]
        assert {name: getattr(block, name) for name in options} == options


def test_map_options_have_defaults():
    (block,) = a().map(b).stages[1:]
    assert [getattr(block, name) for name in MAP_OPTIONS] == [None, None, 0, False, None]


@pytest.mark.parametrize("name", ["concurrency_limit", "batch_size"])
def test_a_limit_of_none_is_no_limit(name):
    assert a().map(b, **{name: None}).stages == a().map(b).stages


def test_the_kind_of_chain_follows_from_its_last_link():
    for chain in (a(), a().next(b), a().map(b).agg(d)):
        assert type(chain) is StepNode
    for chain in (a().map(b), a().map(b).next(c), a().map(b).map(c)):
        assert type(chain) is MapBlock


def test_a_chain_can_go_on_in_two_ways():
    for prefix in (a(), a().next(b), a().map(b), a().map(b).next(c)):
        before = stages(prefix)
        one, other = prefix.next(b), prefix.next(c, factor=2)
        assert stages(prefix) == before
        assert one.stages[-1].calls[-1].step is b
        assert other.stages[-1].calls[-1].step is c


def test_one_chain_can_be_in_two_graphs():
    chain = a().map(b).agg(d)
    one, other = FlowGraph("one", chain.stages), FlowGraph("other", chain.next(b).stages)
    assert (one.shape, other.shape) == ("a → map(b) → d", "a → map(b) → d → b-2")


@pytest.mark.parametrize("chain", [a(), a().map(b)])
def test_chains_are_immutable(chain):
    for change in (partial(setattr, chain, "stages", ()), partial(delattr, chain, "stages")):
        with pytest.raises(AttributeError, match="every link returns a new one"):
            change()
    with pytest.raises(AttributeError):
        chain.label = "x"
    assert chain.stages[0].name == "a"


def test_a_chain_shows_its_length_and_end():
    assert repr(a().map(b)) == "<chain of 2 stages ending with b>"


# What a chain is not: a value


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda chain: chain + 1, "calculated with"),
        (lambda chain: 2 * chain, "calculated with"),
        (lambda chain: -chain, "calculated with"),
        (lambda chain: round(chain, 2), "calculated with"),
        (lambda chain: int(chain), "calculated with"),
        (lambda chain: math.sqrt(chain), "calculated with"),
        (lambda chain: range(chain), "calculated with"),
        (lambda chain: chain > 3, "compared"),
        (lambda chain: min(4, chain), "compared"),
        (lambda chain: chain == 3, "compared"),
        (lambda chain: chain != "x", "compared"),
        (lambda chain: max(chain, 3), "compared"),
        (lambda chain: 1 if chain else 2, "asked whether it is true"),
        (lambda chain: chain or 3, "asked whether it is true"),
        (lambda chain: not chain, "asked whether it is true"),
        (lambda chain: list(chain), "looped over"),
        (lambda chain: [x for x in chain], "looped over"),  # noqa: C416
        (lambda chain: sum(chain), "looped over"),
        (lambda chain: print(*chain), "looped over"),
        (lambda chain: chain[0], "looked into"),
        (lambda chain: chain[1:], "looked into"),
        (lambda chain: len(chain), "looked into"),
        (lambda chain: 3 in chain, "looked into"),
        (lambda chain: f"{chain}", "formatted"),
        (lambda chain: "{:d}".format(chain), "formatted"),  # noqa: UP032
        (lambda chain: chain(), "called"),
    ],
)
def test_a_chain_is_no_value(use, told):
    for chain in (a(), a().map(b)):
        name = chain.stages[-1].name
        with says(
            f"a chain cannot be {told}: step '{name}' has no result while the flow is described; "
            "write a step that does this with the result, and link it: .next(step)"
        ) as refused:
            use(chain)
        assert isinstance(refused.value, TypeError)


@pytest.mark.parametrize("chain", [a(), a().map(b)])
def test_a_chain_has_nothing_but_its_links(chain):
    with says("a chain has no 'upper'; it has next, map and, on an open map, agg") as refused:
        chain.upper()
    assert isinstance(refused.value, AttributeError)
    assert not hasattr(chain, "upper")
    assert not hasattr(chain, "__array__")


def test_chains_can_be_told_apart():
    one, other = a(), a()
    assert one == one
    assert one != other
    assert one != None  # noqa: E711
    assert len({one, other, one}) == 2


@pytest.mark.parametrize("verb", ["map", "next", "agg"])
def test_a_step_that_is_not_called_has_no_links(verb):
    with says(f"write a().{verb}(…)") as refused:
        getattr(a, verb)(b)
    assert isinstance(refused.value, AttributeError)
    assert not hasattr(a, "upper")


# Links that are refused


def test_agg_without_map():
    with says("write .map(…).agg(d), or .next(d) for a single value"):
        a().agg(d)
    with says("write .map(…).agg(d)"):
        a().map(b).agg(d).agg(d, factor=3)
    with says("write .map(…).agg([1])"):
        a().agg([1])
    with pytest.raises(TypeError, match="closes a map, but none is open"):
        a().agg(d)


@pytest.mark.parametrize("wrong", [lambda: a().map(plain), lambda: a().next(b()), lambda: Step(3)])
def test_something_else_than_a_step_is_a_type_error_too(wrong):
    with pytest.raises(TypeError) as error:
        wrong()
    assert isinstance(error.value, DefinitionError)


@pytest.mark.parametrize("link", [a().map, a().next, a().map(b).next, a().map(b).map])
def test_maps_do_not_nest(link):
    for inner in (a().map(b), a().map(b).agg(d), a().map(b).next(c)):
        with refused(r"maps do not nest: close this map with \.agg\(\) first, or do the"):
            link(inner)


every_link = pytest.mark.parametrize(
    ("verb", "link"),
    [
        ("next", a().next),
        ("map", a().map),
        ("next", a().map(b).next),
        ("map", a().map(b).map),
        ("agg", a().map(b).agg),
    ],
)


@every_link
def test_a_plain_function_is_no_link(verb, link):
    with says(f".{verb}(plain) takes a step: decorate plain with @step"):
        link(plain)


@every_link
@pytest.mark.parametrize("thing", [None, "b", 3])
def test_a_value_is_no_link(verb, link, thing):
    with says(f".{verb}({thing!r}) takes a step"):
        link(thing)


@every_link
def test_a_called_step_is_no_link(verb, link):
    with says(f"takes the step itself, not a call of it: write .{verb}(b), without parentheses"):
        link(b())


@every_link
def test_a_step_without_parameters_is_no_link(verb, link):
    for useless in (nothing, keywords_only):
        with says(f".{verb}({useless.name}) calls it with the previous result: give it a par"):
            link(useless)


@every_link
def test_constants_are_bound_by_name(verb, link):
    with says(f"bind constants by name, such as .{verb}(b, factor=3)"):
        link(b, 3)


@every_link
def test_the_input_cannot_be_bound(verb, link):
    with says(f".{verb}(b, item=…): 'item' is the step's input and comes from the previous call"):
        link(b, item=3)


@every_link
def test_an_unknown_constant_names_the_known_ones(verb, link):
    with says(f".{verb}(b, fcator=…): step 'b' takes no 'fcator'; did you mean 'factor'?"):
        link(b, fcator=3)
    with says(f".{verb}(b, xyz=…): step 'b' takes no 'xyz'; it takes factor"):
        link(b, xyz=3)
    with refused("step 'd' takes no 'factor'$"):
        link(d, factor=3)


def test_a_misspelt_option_of_a_map():
    with says("step 'd' takes no 'concurency_limit'; did you mean 'concurrency_limit'?"):
        a().map(d, concurency_limit=3)


@every_link
def test_a_chain_is_no_constant(verb, link):
    for chain in (a(), a().map(b)):
        with says("step 'b' got a chain as an argument; link it instead: first_step().next(b)"):
            link(b, factor=chain)
        with says("step 'b' got a chain as an argument"):
            link(b, chain)


@pytest.mark.parametrize("link", [a().next, a().map(b).next, a().map(b).map, a().map(b).agg])
def test_only_an_opening_map_takes_a_list(link):
    for several in ([b, c], (b,), []):
        with says("only the .map() that opens a block takes a list; link the steps one by one"):
            link(several)


def test_a_list_of_links_needs_a_step():
    with says(".map([]) has no step: give at least one"):
        a().map([])


def test_a_list_of_links_holds_steps_alone():
    with says("decorate plain with @step"):
        a().map([b, plain])
    with says("write .map(c), without parentheses"):
        a().map([b, c()])


def test_a_list_of_links_takes_no_constants():
    with says("factor=…) does not say which step gets the constant; write .map(first, …).next("):
        a().map([b, c], factor=3)


@pytest.mark.parametrize("option", MAP_OPTIONS)
def test_an_inner_map_takes_no_options(option):
    with says(f"{option} belongs to the .map() that opens the block, not to .map(c) inside it"):
        a().map(b).map(c, **{option: 1})


@pytest.mark.parametrize("option", ["concurrency_limit", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", math.nan])
def test_limits_are_whole_numbers(option, value):
    with says(f"{option} must be a whole number from 1, not {value!r}"):
        a().map(b, **{option: value})


@pytest.mark.parametrize("value", [-1, -0.1, 1.5, True, "5%", None, math.nan, math.inf])
def test_tolerance_is_a_number_or_a_share(value):
    with says(f"a number of items (5) or a share from 0.0 to 1.0 (0.05), not {value!r}"):
        a().map(b, tolerated_failures=value)


@pytest.mark.parametrize("value", [0, 1, "no", None])
def test_direct_pass_is_true_or_false(value):
    with says(f"direct_pass must be True or False, not {value!r}"):
        a().map(b, direct_pass=value)


# Calling a step


def test_arguments_that_the_step_does_not_take_are_refused():
    with says("step 'a': too many positional arguments"):
        a(1, 2)
    with says("step 'a': got an unexpected keyword argument 'limits'"):
        a(limits=1)
    with says("step 'a': multiple values for argument 'limit'"):
        a(1, limit=1)


@pytest.mark.parametrize("chain", [a(), a().map(b)])
def test_a_chain_as_an_argument_is_refused(chain):
    for call in (partial(b, chain), partial(b, 1, factor=chain), partial(anything, x=chain)):
        with refused(r"got a chain as an argument; link it instead: first_step\(\)\.next\("):
            call()


# Steps


def test_a_step_looks_like_its_function():
    def work(item: int, factor: float = 1.0) -> float:
        """Does the work."""
        return item * factor

    wrapped = step(work)
    assert wrapped.fn is work
    assert wrapped.fn(3, 2) == 6
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        assert getattr(wrapped, name) == getattr(work, name)
    assert str(wrapped.signature) == "(item: int, factor: float = 1.0) -> float"
    assert (wrapped.name, repr(wrapped)) == ("work", "<step work>")


def test_a_step_has_defaults():
    assert a.retry == RetryConfig()
    assert (a.job_type, a.vcpu, a.memory_mb, a.timeout_seconds, a.executor) == (
        "lambda",
        None,
        None,
        None,
        None,
    )


def test_steps_are_immutable_and_equal_to_themselves_alone():
    for change in (partial(setattr, b, "name", "x"), partial(delattr, b, "name")):
        with pytest.raises(AttributeError, match="step 'b' is immutable; give options to @step"):
            change()
    assert b.name == "b"
    assert len({b, b, step(b.fn)}) == 2


@pytest.mark.parametrize("make", [lambda: a, lambda: step(a.fn, retry={"retries": 2})])
def test_a_step_survives_cloudpickle(make):
    original = make()
    copy = cloudpickle.loads(cloudpickle.dumps(original))
    assert type(copy) is Step
    assert copy.fn(4) == [0, 1, 2, 3]
    for name in ("name", "retry", "job_type", "__doc__", "__module__", "__qualname__", "signature"):
        assert getattr(copy, name) == getattr(original, name)


def test_the_options_of_a_step_survive_cloudpickle():
    original = Step(
        b.fn,
        retry=RetryConfig(retries=2, exceptions=(OSError,)),
        job_type="batch",
        vcpu=2,
        gpu=1,
        memory_mb=512,
        ephemeral_storage=1024,
        timeout_seconds=1.5,
        executor="process",
    )
    copy = cloudpickle.loads(cloudpickle.dumps(original))
    assert copy.ephemeral_storage == 1024
    for name in (*OPTIONS, "is_async"):
        assert getattr(copy, name) == getattr(original, name)


def test_a_step_that_calls_itself_survives_cloudpickle():
    @step
    def count_down(number):
        return [number, *count_down.fn(number - 1)] if number else [0]

    assert cloudpickle.loads(cloudpickle.dumps(count_down)).fn(3) == [3, 2, 1, 0]


def test_the_steps_of_one_pickle_stay_one():
    one, other = cloudpickle.loads(cloudpickle.dumps([b, b]))
    assert one is other


async def coroutine(item):
    return item


async def async_generator(item):
    yield item


def generator(item):
    yield item


@pytest.mark.parametrize(
    ("fn", "options", "lane"),
    [
        (plain, {}, "thread"),
        (generator, {}, "thread"),
        (plain, {"executor": "thread"}, "thread"),
        (plain, {"executor": "process"}, "process"),
        (plain, {"timeout_seconds": 1}, "process"),
        (generator, {"timeout_seconds": 1}, "process"),
        (coroutine, {}, "async"),
        (async_generator, {}, "async"),
        (coroutine, {"timeout_seconds": 1}, "async"),
        (coroutine, {"executor": "process"}, "process"),
    ],
)
def test_the_lane_of_a_step(fn, options, lane):
    assert Step(fn, **options).lane == lane


@pytest.mark.parametrize(
    ("fn", "names", "takes_any"),
    [
        (lambda item, factor, *, key: 0, ["item", "factor", "key"], False),
        (lambda item, /, hidden, **rest: 0, ["item", "hidden"], True),
        (lambda item, hidden, /: 0, ["item"], False),
        (lambda *items, key: 0, ["", "key"], False),
        (lambda: 0, None, False),
        (lambda *, key: 0, None, False),
        (lambda **rest: 0, None, True),
    ],
)
def test_the_names_that_a_step_takes(fn, names, takes_any):
    fn.__name__ = "fn"
    assert input_and_names(Step(fn)) == (names, takes_any)


# Steps that are refused


@pytest.mark.parametrize("thing", [3, "b", b, partial(plain), None])
def test_what_is_no_function_is_no_step(thing):
    with says(f"@step takes a function, not {thing!r}"):
        Step(thing)


def named(name):
    def fn(item):
        return item

    fn.__name__ = name
    return fn


@pytest.mark.parametrize(
    "fn",
    [lambda item: item, named("größe"), named("a-b"), named("1a"), named("a" * 61), named("")],
    ids=["lambda", "not ASCII", "hyphen", "digit first", "too long", "empty"],
)
def test_names_that_no_place_could_hold(fn):
    with says("must consist of at most 60 ASCII letters, digits and '_': write it with def"):
        Step(fn)


def test_the_longest_name():
    assert Step(named("a" * 60)).name == "a" * 60


@pytest.mark.parametrize("fn", [dict, max])
def test_a_function_without_signature(fn):
    with says(f"'{fn.__name__}': its signature is unknown; call it from a function of your own"):
        Step(fn)


@pytest.mark.parametrize("name", MAP_OPTIONS[:4])
def test_reserved_parameter_names(name):
    namespace = {}
    exec(f"def work(item, {name}=1): ...", namespace)
    with says(f"the parameter name '{name}' is reserved for .map(); rename it"):
        Step(namespace["work"])


def test_a_steps_own_parameter_rate_limit_is_bound_as_before():
    def paced(item, rate_limit=1):
        return item

    (block,) = a().map(Step(paced), rate_limit=5).stages[1:]
    assert (block.rate_limit, block.calls[0].kwargs) == (None, {"rate_limit": 5})


def test_an_unknown_job_type():
    with says("step 'plain': job_type must be 'lambda' or 'batch', not 'spark'"):
        Step(plain, job_type="spark")


def test_an_unknown_executor():
    with says("step 'plain': executor must be 'thread', 'process' or 'dask', not 'fiber'"):
        Step(plain, executor="fiber")


@pytest.mark.parametrize(
    "option", ["vcpu", "gpu", "memory_mb", "ephemeral_storage", "timeout_seconds"]
)
@pytest.mark.parametrize("value", [0, -1, True, "1", math.nan, math.inf])
def test_sizes_are_numbers_above_zero(option, value):
    with says(f"step 'plain': {option} must be a number above 0, not {value!r}"):
        Step(plain, job_type="batch", **{option: value})


@pytest.mark.parametrize("option", ["gpu", "memory_mb", "ephemeral_storage"])
def test_gpus_and_megabytes_are_whole_numbers(option):
    with says(f"step 'plain': {option} must be a whole number, not 1.5"):
        Step(plain, job_type="batch", **{option: 1.5})


def test_vcpu_is_for_batch():
    with says("vcpu is for job_type='batch'; Lambda assigns CPU by memory: set memory_mb"):
        Step(plain, vcpu=1)
    assert Step(plain, job_type="batch", vcpu=0.25).vcpu == 0.25


def test_a_gpu_is_for_batch():
    with says("step 'plain': gpu is for job_type='batch'; Lambda has none"):
        Step(plain, gpu=1)


def test_a_thread_keeps_no_timeout():
    with says("leave executor out (a process is used) or use executor='process'"):
        Step(plain, executor="thread", timeout_seconds=1)


@pytest.mark.parametrize("fn", [coroutine, async_generator])
def test_an_async_step_runs_in_no_thread(fn):
    with says("an async step runs on the event loop; leave out executor='thread'"):
        Step(fn, executor="thread")


def test_a_bad_retry():
    with says("retry has no 'retry'; write retry={\"retries\": 1}"):
        Step(plain, retry={"retry": 1})


# Other callables


class Named:
    """A callable object, which takes its name from its class."""

    __name__ = "named"


class Awaited(Named):
    async def __call__(self, item):
        return item


class Yielding(Named):
    async def __call__(self, item):
        yield item


@pytest.mark.parametrize("kind", [Awaited, Yielding])
def test_an_object_with_an_async_call_is_an_async_step(kind):
    assert Step(kind()).lane == "async"


@pytest.mark.parametrize("fn", [str.upper, dict.get, len, "".join])
def test_builtins_and_methods_of_builtins_are_steps(fn):
    assert Step(fn).fn == fn
    assert Step(fn).name == fn.__name__
