"""Which stored results may stand for a call: those with its key.

The key of a call is a digest of everything that its result may depend on as far as that is known:
the code of its function and of what this uses of its own module, the arguments, and the input.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from inspect import isfunction
from types import CodeType, FunctionType
from typing import Any

from lokki.call import Caching, arguments_of
from lokki.durations import seconds_of
from lokki.errors import DefinitionError, PayloadError
from lokki.graph import FlowGraph
from lokki.model.failure import Failure
from lokki.secret import Secret
from lokki.stages import StepCall
from lokki.standin import ValueNeeded
from lokki.store.codec import dumps_chunks
from lokki.used import functions_in, is_plain, used_globals

_SCHEME = "lokki 1"
_MOST = 10_000
"""Larger values are digested as their pickle: faster, and what is equal may differ."""
_SECRET_ROUNDS = 100_000
"""A secret is guessed as slowly as a password: its digest is part of what is stored."""


def caching_of(
    call: StepCall,
    params: Mapping[str, Any],
    *,
    takes_input: bool,
    listed: bool,
    looks: bool,
    failures: Iterable[Failure] = (),
) -> Caching | None:
    """How the results of a call are cached in one run; None if they are not.

    ``listed``: a map iterates over the result. With ``looks`` False, stored results are replaced
    instead of used. Raises DefinitionError where a key would not tell what the function depends on.
    """
    step = call.step
    if step.cache is None:
        return None
    args, kwargs = arguments_of(call, params, takes_input=takes_input)

    def refuse(what: str, why: str) -> DefinitionError:
        return DefinitionError(f"the results of step '{call.name}' cannot be cached: {what} {why}")

    parts = [_SCHEME, sys.implementation.cache_tag, step.name, repr(step.cache_version), listed]
    parts += _code_of(step.fn, refuse)
    for name, value in [*enumerate(args), *sorted(kwargs.items())]:
        parts.append(f"{name}={_digest(value, partial(refuse, f'its argument {name!r}'))}")
    parts += [(each.step, each.index, each.type, each.reason) for each in failures]
    hashed = _sha256()
    hashed.update(repr(parts).encode("utf-8", "backslashreplace"))
    return Caching(hashed.digest(), seconds_of(step.cache), looks)


def check_caching(graph: FlowGraph[Any]) -> None:
    """Raise DefinitionError where results of a flow's steps cannot be cached as they say."""
    for position, stage in enumerate(graph.stages):
        for call in stage.calls:
            caching_of(call, graph.params, takes_input=position > 0, listed=False, looks=False)


def key_of(caching: Caching, value: Any) -> str | None:
    """The key of a call with an input; None if the input cannot be pickled.

    Plain values are the same if they are equal and of the same types, with dicts in the same order;
    anything else, if its pickle is the same.
    """
    hashed = _sha256()
    hashed.update(caching.prefix)
    try:
        for chunk in _content(value):
            hashed.update(chunk)
    except PayloadError:
        return None
    found: str = hashed.hexdigest()
    return found


def _content(value: Any) -> Iterable[bytes]:
    if is_plain(value, _MOST):
        return (b"=", _stated(value).encode("utf-8", "backslashreplace"))
    return dumps_chunks(value)


def _stated(value: Any) -> str:
    """A plain value as a text, the same in every process."""
    kind = type(value)
    if kind is int:
        return hex(value)  # a long one has no decimal digits
    if kind is tuple or kind is list:
        return f"{kind.__name__}({','.join(map(_stated, value))})"
    if kind is set or kind is frozenset:
        return f"{kind.__name__}({','.join(sorted(map(_stated, value)))})"
    if kind is dict:
        inside = (f"{_stated(key)}:{_stated(each)}" for key, each in value.items())
        return f"dict({','.join(inside)})"
    if kind is CodeType:
        return _code_text(value)
    return repr(value)


def code_digest(functions: Iterable[Any]) -> str:
    """A short digest of the code of functions, as for keys, as far as it can be known."""
    hashed = _sha256()
    for fn in functions:
        with suppress(DefinitionError):
            for part in _code_of(fn, lambda what, why: DefinitionError(f"{what} {why}")):
                hashed.update(part.encode("utf-8", "backslashreplace"))
    found: str = hashed.hexdigest()
    return found[:12]


# ---- code and arguments --------------------------------------------------------------------------


def _code_of(fn: Any, refuse: Callable[[str, str], DefinitionError]) -> Iterator[str]:
    """The code of a function and of its module as far as it uses that, and its own values."""
    while fn is not None:
        if not isfunction(fn):
            raise refuse(f"{fn!r}", "is not a function: write one that calls it")
        yield _code_text(fn.__code__)
        for value in (fn.__defaults__, fn.__kwdefaults__):
            yield _digest(value, partial(refuse, "a default value"))
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            value = cell.cell_contents
            functions = [*functions_in(value)]
            if not functions and not is_plain(value, _MOST):
                kind = type(value).__name__
                why = f"is a {kind} of the function around it: pass it as an argument"
                raise refuse(f"'{name}'", why)
            yield f"{name}: {[_code_text(each.__code__) for each in functions] or _stated(value)}"
        yield from _used_by(fn)
        fn = getattr(fn, "__wrapped__", None)


def _used_by(fn: FunctionType) -> Iterator[str]:
    """The functions and the plain values of its module that a function uses."""
    here = fn.__globals__
    for name in sorted(used_globals(fn) & here.keys()):
        if name.startswith("__"):
            continue
        value = here[name]
        if is_plain(value, _MOST):
            yield f"{name}: {_stated(value)}"
            continue
        for each in functions_in(value):
            if each.__globals__ is here:
                yield f"{name}: {_code_text(each.__code__)}"
        if isinstance(value, type) and value.__module__ == fn.__module__:
            own = {key: each for key, each in vars(value).items() if not key.startswith("__")}
            yield from (
                f"{name}.{key}: {_stated(own[key])}" for key in own if is_plain(own[key], _MOST)
            )


@lru_cache(1024)
def _code_text(code: CodeType) -> str:
    """What compiled code does; not in which file and line it is."""
    return repr(
        (
            code.co_name,
            code.co_code,
            code.co_exceptiontable,
            code.co_flags,
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            code.co_names,
            code.co_varnames,
            code.co_freevars,
            code.co_cellvars,
            [*map(_stated, code.co_consts)],
        )
    )


def _digest(value: Any, refuse: Callable[[str], DefinitionError]) -> str:
    """The digest of an argument; raises what ``refuse`` makes of a reason.

    That of what a parameter without a value is part of, as in a build, is empty.
    """
    hashed = _sha256()
    secret = isinstance(value, Secret)
    try:
        for chunk in _content(value.value if secret else value):
            hashed.update(chunk)
    except PayloadError as error:
        if isinstance(error.__cause__, ValueNeeded):
            return ""
        raise refuse(f"has no digest: {error}") from error
    return _hardened(hashed.digest()) if secret else hashed.hexdigest()


@lru_cache(64)
def _hardened(digest: bytes) -> str:
    from hashlib import pbkdf2_hmac  # slow to import

    return "secret " + pbkdf2_hmac("sha256", digest, _SCHEME.encode(), _SECRET_ROUNDS).hex()


def _sha256() -> Any:
    from hashlib import sha256  # slow to import

    return sha256()
