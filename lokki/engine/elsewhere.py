"""Runs calls and slices elsewhere: the engine's side, whatever carries the messages.

A transport, `workers.py` or `cluster/pool.py`, takes a request to a worker and returns its answer;
how a stage is described, what the items of a slice are sent with and what becomes of each when a
worker dies, is late or cannot load them is the same for all of them.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias
from weakref import WeakKeyDictionary

import anyio

from lokki import output
from lokki.call import BoundCall, unstorable
from lokki.engine.definitions import Definitions, Described
from lokki.engine.items import Slice, StageWork
from lokki.engine.perform import CallCancelled, CallFailed
from lokki.engine.program import Program
from lokki.engine.progress import Begun
from lokki.engine.remote import RemoteSlice, of_ours
from lokki.engine.sliced import Items, Traits
from lokki.engine.storing import StoreRequest
from lokki.errors import PayloadError, ValueUnreadable, WorkerDied
from lokki.model.failure import Failure
from lokki.secret import redacted
from lokki.store.codec import loads


class Again(Exception):
    """Nothing is known to have run: another worker is to be asked.

    The worker has imported code that has changed since, or has left; or the connection was lost.
    """


class Lost(WorkerDied):
    """The worker died, and which item it was at is not known."""


class Unloadable(Exception):
    """The worker cannot load what it was sent."""


class Unimportable(Exception):
    """The worker could not import the program; another one is asked in a retry."""

    def failure_of(self, call: BoundCall, index: int, attempt: int) -> Failure:
        kind, reason, trace = self.args
        return Failure(
            call.name,
            index if call.in_map else None,
            attempt,
            kind,
            redacted(reason, call.secrets),
            redacted(trace, call.secrets),
            issubclass(WorkerDied, call.exceptions),
        )


class Asked(Protocol):
    """What a transport knows of a request.

    ``owner`` is what `kill` is called for. ``timeouts`` are those of the calls, ``resources`` what
    a Dask worker needs for them; ``secret``: whether their arguments are to be.
    """

    @property
    def owner(self) -> object: ...
    @property
    def cancelled(self) -> bool: ...
    @property
    def flow(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def program(self) -> Program: ...
    @property
    def key(self) -> int: ...
    @property
    def definition(self) -> bytes: ...
    @property
    def timeouts(self) -> Sequence[float | None]: ...
    @property
    def resources(self) -> Mapping[str, float]: ...
    @property
    def secret(self) -> bool: ...
    @property
    def content(self) -> Any: ...
    def begin(self, progress: Begun, most: int) -> int:
        """Give a worker at most ``most`` of the items, and return how many."""
        ...

    def end(self) -> None:
        """Take back what the worker has not begun, before it serves another request."""

    def hear(self, kind: str, of: Any, content: Any) -> Any:
        """Serve a message of the worker; the answer to a "put" or a "find"."""


class Elsewhere(ABC):
    """Makes calls and runs slices where `ask` takes them; ``most`` calls at a time."""

    def __init__(self, most: int) -> None:
        self.limiter = anyio.CapacityLimiter(most)
        self._definitions: WeakKeyDictionary[StageWork, Definitions] = WeakKeyDictionary()
        self._describing = threading.Lock()

    @abstractmethod
    def ask(self, request: Asked) -> Any:
        """What a worker answers; blocks.

        Raises Again, Unloadable, Unimportable, TimeoutError after the step's timeout, WorkerDied
        when the process died or could not be started, and CallCancelled when `kill` was called.
        """

    @abstractmethod
    def kill(self, owner: object) -> None:
        """Kill what serves requests of an owner; does not wait."""

    @abstractmethod
    def prepare(self, run_id: str, program: Program) -> None:
        """Prepare for the calls of a run that has begun; does not wait."""

    @abstractmethod
    def close(self) -> None:
        """End what is there to serve requests; nothing is asked any more."""

    def call(self, work: StageWork, call: BoundCall, value: Any, index: int, attempt: int) -> Any:
        """Make one call in a worker and return its result; blocks.

        Raises CallFailed with the error, and what `ask` raises of deaths, timeouts and kills.
        """
        definitions = self._definitions_of(work)
        span = None if work.traced is None else work.traced.carrier()
        traits = Traits(work.stage_id, None, (False,), work.writer.name, None, span)
        try:
            while True:
                described = definitions.describe((call,), traits)
                raw = definitions.input(call, value, described.way)
                try:
                    answer = self.ask(_Call(work, call, described, (raw, index, attempt)))
                except Again:
                    continue
                except Unloadable as error:
                    definitions.try_next(described.way, str(error))
                    continue
                if isinstance(answer, Failure):
                    raise CallFailed(answer)
                try:
                    return loads(answer)
                except PayloadError as error:
                    raise unstorable(call, ValueUnreadable(str(error))) from error.__cause__
        except Unimportable as error:
            raise CallFailed(error.failure_of(call, index, attempt)) from None
        except PayloadError as error:
            raise CallFailed(of_ours(call, index, attempt, error)) from None

    def run(self, done: Slice, payloads: str | None, answer: Callable[[StoreRequest], Any]) -> None:
        """Have a worker run the items of a slice, and add the outcomes to it; blocks.

        An item fails if its worker dies or it exceeds its step's timeout. Items that were not begun
        or not reported by then return to the claim. ``payloads`` is the folder where workers store
        large results; None: ``answer`` has them stored. It also finds results to reuse.
        """
        remote = RemoteSlice(done, self._definitions_of(done.work), payloads, answer)
        if not remote:
            return
        try:
            described = remote.describe()
            items = remote.items(described)
        except PayloadError as error:
            remote.fail(of_ours(*remote.first(), error))
            return
        try:
            ran = self.ask(_Items(remote, described, items))
        except Again:
            remote.leave()
        except Unloadable as error:
            remote.unloadable(described, str(error))
        except Unimportable as error:
            remote.fail(error.failure_of(*remote.first()))
        except Lost as error:
            remote.lost(WorkerDied(str(error)), at_unknown=True)
        except (WorkerDied, TimeoutError) as error:
            remote.lost(error)
        except CallCancelled:
            remote.cancelled()
        else:
            remote.take_in(ran)
            if ran.unloadable is not None:
                remote.unloadable(described, ran.unloadable)

    def _definitions_of(self, work: StageWork) -> Definitions:
        with self._describing:
            found = self._definitions.get(work)
            if found is None:
                assert work.program is not None
                found = self._definitions[work] = Definitions(work.program)
            return found


class _OfStage:
    """What the requests of a stage have in common."""

    work: StageWork
    described: Described
    calls: Sequence[BoundCall]

    @property
    def owner(self) -> object:
        return self.work

    @property
    def cancelled(self) -> bool:
        return self.work.state.halted and self.work.state.cancelled

    @property
    def flow(self) -> str:
        return self.calls[0].flow

    @property
    def run_id(self) -> str:
        return self.calls[0].run_id

    @property
    def program(self) -> Program:
        assert self.work.program is not None
        return self.work.program

    @property
    def key(self) -> int:
        return self.described.key

    @property
    def definition(self) -> bytes:
        return self.described.definition

    @property
    def timeouts(self) -> Sequence[float | None]:
        return [call.timeout for call in self.calls]

    @property
    def resources(self) -> Mapping[str, float]:
        """What one worker needs for all of its calls, which follow each other."""
        found: dict[str, float] = {}
        for call in self.calls:
            for name, amount in call.resources.items():
                found[name] = max(amount, found.get(name, 0))
        return found

    @property
    def secret(self) -> bool:
        return any(call.secrets for call in self.calls)


class _Call(_OfStage):
    """A request for one call."""

    def __init__(
        self,
        work: StageWork,
        call: BoundCall,
        described: Described,
        content: tuple[bytes, int, int],
    ) -> None:
        self.work = work
        self.calls = (call,)
        self.described = described
        self.content = content

    def begin(self, progress: Begun, most: int) -> int:
        progress.reset(1)
        return 1

    def end(self) -> None:
        """There is nothing that others could take."""

    def hear(self, kind: str, of: Any, content: Any) -> None:
        if kind in _SHOWN:
            _SHOWN[kind](of, content)


class _Items(_OfStage):
    """A request for a slice of items."""

    def __init__(self, remote: RemoteSlice, described: Described, content: Items) -> None:
        self.work = remote.work
        self.calls = remote.work.calls
        self.described = described
        self.content = content
        self._remote = remote

    def begin(self, progress: Begun, most: int) -> int:
        return self._remote.begin(progress, most)

    def end(self) -> None:
        self._remote.end()

    def hear(self, kind: str, of: Any, content: Any) -> Any:
        if kind in _SHOWN:
            return _SHOWN[kind](of, content)
        return self._remote.answer(kind, content)


_SHOWN: dict[str, Callable[[str, Any], None]] = {"line": output.record, "echo": output.show}
Request: TypeAlias = _Call | _Items
