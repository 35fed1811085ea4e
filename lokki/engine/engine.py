"""`Engine`: runs flows here, durably, any number at a time, in async Python."""

from __future__ import annotations

from lokki.engine import ahead as ahead  # isort: split

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from secrets import token_bytes
from types import TracebackType
from typing import Any, Generic, Self, TextIO, TypeVar

import anyio
import anyio.to_thread

from lokki.caching import check_caching
from lokki.config import Config, journal_path, journal_place, load, unknown_variables
from lokki.engine.cluster.address import cluster_address
from lokki.engine.elsewhere import Elsewhere
from lokki.engine.events import Event, RunFinished, StageProgressed
from lokki.engine.importing import check_may_run
from lokki.engine.lanes import Lanes
from lokki.engine.limits import Limits
from lokki.engine.payloads import payload_store
from lokki.engine.placement import check_cluster, lane_of, lanes_needed, lanes_of
from lokki.engine.resuming import Plan, plan
from lokki.engine.run import Run
from lokki.engine.spawning import cores
from lokki.engine.workers import WorkerPool
from lokki.errors import DefinitionError, LokkiError
from lokki.graph import FlowDefinition, FlowGraph
from lokki.notify.notifier import Notifier
from lokki.numeric import whole
from lokki.postgres_url import Place
from lokki.resumption import ResumeOptions
from lokki.secret import HIDDEN, Secret
from lokki.stages import Stage
from lokki.steps import Lane
from lokki.store.codec import loads
from lokki.store.journal import Journal
from lokki.store.keys import check_part
from lokki.store.parameters import with_params
from lokki.store.protocol import PayloadStore
from lokki.store.rows import RunRow
from lokki.store.runs import RunRecord
from lokki.tags import run_tags

R = TypeVar("R")

_PROGRESS_SECONDS = 0.1
_ASYNC_CALLS = 100
_TAIL = "0123456789abcdefghjkmnpqrstvwxyz"
"""The 32 characters of the random part of a run's id."""


class RunHandle(Generic[R]):
    """A run submitted to an engine. ``run_id`` is its id, ``graph`` what it runs."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.run_id = run.id
        self.graph: FlowGraph[R] = run.graph

    async def result(self) -> R:
        """Wait for the end and return the flow's result.

        Raises RunFailed, RunCancelled, JournalError (RunOwned for a run that another process
        has) or PayloadError.
        """
        await self._run.done.wait()
        if self._run.error is not None:
            raise self._run.error
        result: R = self._run.result
        return result

    async def ended(self) -> R:
        """Like `result`, but cancelling the caller cancels the run, and waits for its end."""
        try:
            return await self.result()
        except anyio.get_cancelled_exc_class():
            self.cancel()
            with anyio.CancelScope(shield=True):
                await self._run.done.wait()
            raise

    async def events(self) -> AsyncIterator[Event]:
        """The events of the run, from its start to its `RunFinished`, for any number of readers.

        Progress of a stage's items is reported about ten times a second.
        """
        run, seen, shown = self._run, 0, None
        while True:
            news = run.news
            while seen < len(run.events):
                event = run.events[seen]
                seen += 1
                yield event
                if isinstance(event, RunFinished):
                    return
            with anyio.move_on_after(_PROGRESS_SECONDS):
                await news.wait()
            state = run.state
            if run.work is not None and seen == len(run.events) and state.counts != shown:
                shown = replace(state.counts)
                yield StageProgressed(state.position, shown)

    def cancel(self) -> None:
        """Cancel the run: cancel async calls, kill processes, wait for threads."""
        self._run.cancel()


class Engine:
    """Runs flows in this process: an async context manager, on asyncio.

    ``journal``: path of the journal (default: ~/.lokki/lokki.db), or the URL of a PostgreSQL
    database. ``payloads``: store of large payloads (default: a directory beside the journal).
    ``concurrency``: most calls at a time in the whole engine, all runs together (default: 4 × the
    cores in threads and 100 on the event loop). ``processes``: most of them in worker processes
    (default: the cores); if given, the engine prepares for them when it opens. ``cluster``: address
    of a Dask scheduler, such as ``"tcp://scheduler:8786"``, whose workers run the items of maps
    (default: none). ``echo``: stream that shows the output of steps (default: the stream that it
    was written to). ``config``: where the first five come from if they are not given (default: the
    configuration of the working directory; raises ConfigError when that is wrong).

    Leaving the context waits for unfinished runs; an error or a cancellation cancels them first.
    Entering raises JournalError when the journal cannot be opened.
    """

    def __init__(
        self,
        *,
        journal: str | os.PathLike[str] | None = None,
        payloads: PayloadStore | None = None,
        concurrency: int | None = None,
        processes: int | None = None,
        cluster: str | None = None,
        echo: TextIO | None = None,
        config: Config | None = None,
    ) -> None:
        for name, value in (("concurrency", concurrency), ("processes", processes)):
            if value is not None and ((count := whole(value)) is None or count < 1):
                raise DefinitionError(
                    f"Engine: {name} must be a whole number from 1, not {value!r}"
                )
        if isinstance(payloads, str | os.PathLike):
            raise DefinitionError(
                f"Engine: payloads must be a store, not a path: write "
                f"payloads=LocalStore({os.fspath(payloads)!r}), "
                "after 'from lokki.store.local import LocalStore'"
            )
        config = config or _configured()
        self._expects_processes = processes is not None
        concurrency = whole(concurrency) or config.local.concurrency
        processes = whole(processes) or config.local.processes
        self._local = config.local
        address = cluster or config.local.cluster
        self._cluster = None if address is None else cluster_address(address)
        self._configured_limits = config.limits
        self._path, self._payloads = _places(journal, payloads, config)
        self._own_payloads = payloads is None
        self.notifier = Notifier(config)
        self._limits: dict[Any, int] = {
            "thread": concurrency or 4 * cores(),
            "async": concurrency or _ASYNC_CALLS,
            "process": processes or min(cores(), concurrency or cores()),
        }
        if self._cluster is not None:
            self._limits["dask"] = concurrency or 1
        self._total = concurrency
        self._echo = echo
        self._runs: set[Run] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        check_may_run()
        workers = WorkerPool(self._limits["process"], self._local)
        if self._expects_processes:
            workers.expect()
        try:
            self.journal = await anyio.to_thread.run_sync(Journal, self._path)
        except BaseException:
            workers.close()
            raise
        elsewhere: dict[Lane, Elsewhere] = {"process": workers}
        if self._cluster is not None:
            elsewhere["dask"] = self._cluster_pool(self._cluster)
        self._lanes = Lanes(
            self.journal.commits,
            self._payloads,
            self._limits,
            self._total,
            elsewhere,
            self.journal.read,
        )
        self._shared = Limits(self._configured_limits, self.journal, self._lanes.change)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._cancel_all()
            else:
                await self._wait_all()
        finally:
            self._open = False
            self._cancel_all()
            with anyio.CancelScope(shield=True):
                await self._wait_all()
                await self._lanes.close()
                if self._own_payloads:
                    await self._payloads.close()
                await anyio.to_thread.run_sync(self.journal.close)
                await anyio.to_thread.run_sync(self.notifier.close)

    def _cluster_pool(self, address: str) -> Elsewhere:
        from lokki.engine.cluster.pool import ClusterPool

        def widen(threads: int) -> None:
            if self._total is None:
                self._lanes.widen("dask", threads)

        return ClusterPool(
            address,
            self._local,
            self._payloads,
            widen=widen,
            wake=lambda: self._lanes.look_again(),
            tell=self._tell,
        )

    def _tell(self, text: str) -> None:
        """Have all runs record a warning; from any thread."""
        for run in tuple(self._runs):
            run.warn(text)

    def lane_of(self, stage: Stage) -> Lane:
        """The kind of lane that runs the items of a stage here."""
        return lane_of(lanes_of(stage, cluster=self._cluster is not None))

    def limit_of(self, stage: Stage) -> int | None:
        """The most calls of a stage that run at a time here, apart from the stage's own limit.

        None if that depends on a cluster.
        """
        lane = self.lane_of(stage)
        if lane == "dask":
            return self._total
        limit = self._limits[lane]
        return limit if self._total is None else min(limit, self._total)

    def _cancel_all(self) -> None:
        for run in tuple(self._runs):
            run.cancel()

    async def _wait_all(self) -> None:
        while self._runs:
            run = next(iter(self._runs))
            await run.done.wait()
            self._runs.discard(run)

    async def run(
        self,
        flow: FlowGraph[R] | FlowDefinition[..., R],
        params: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        no_cache: bool = False,
        tags: Iterable[str] = (),
    ) -> R:
        """Run a flow to its end and return its result; cancelling the caller cancels the run.

        ``params`` are checked, and added to those that a graph was made with. ``no_cache`` and
        ``tags``: as for `submit`. Raises ParameterError and DefinitionError before anything runs,
        then the same as `RunHandle.result`.
        """
        handle = self.submit(flow, params, run_id=run_id, no_cache=no_cache, tags=tags)
        return await handle.ended()

    def submit(
        self,
        flow: FlowGraph[R] | FlowDefinition[..., R],
        params: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        started_by: str | None = None,
        no_cache: bool = False,
        tags: Iterable[str] = (),
    ) -> RunHandle[R]:
        """Start a run in the background, with the id ``run_id`` (default: a new, sortable one).

        ``started_by`` is recorded with it: a command line, say. With ``no_cache``, its steps use no
        cached results, but replace them with theirs. ``tags`` are words to find the run by, besides
        those of its flow.

        Raises ParameterError and DefinitionError like `run`, PayloadError for an invalid
        ``run_id``.
        """
        graph = _graph(flow, params)
        name = check_part(run_id or new_run_id(), "run id")
        own = graph.flow.tags if graph.flow else ()
        return self._start(
            graph,
            name,
            started_by=started_by,
            no_cache=no_cache,
            tags=run_tags(own, tags),
        )

    async def resume(
        self,
        run_id: str,
        flow: FlowDefinition[..., R],
        again: ResumeOptions | None = None,
        *,
        secrets: Mapping[str, Any] | None = None,
        started_by: str | None = None,
    ) -> RunHandle[R]:
        """Resume a run with the current code of its flow.

        Recorded results stay. Failed and cancelled items run again, and so does what ``again``
        names. ``secrets`` are values of secret parameters (default: those in the environment).
        ``started_by`` is recorded with it: a command line, say. A run that has succeeded just
        returns its result.

        Raises RunNotFound (also while the run is being removed), ParameterError for a wrong or
        missing secret, PayloadError when large parameters are missing or damaged, DefinitionError
        when the run belongs to another flow or has nothing that ``again`` names, FingerprintError
        when the flow's structure has changed.
        """
        row = await self.recorded(run_id)
        graph = resumed_graph(row, flow, secrets or {})
        planned = await anyio.to_thread.run_sync(
            plan, self.journal.history, row, graph, again or ResumeOptions()
        )
        return self.resume_as(planned, started_by=started_by)

    async def recorded(self, run_id: str) -> RunRecord:
        """A run of the journal with all its parameters.

        Raises RunNotFound, and PayloadError where parameters cannot be read back.
        """
        return await self.complete(self.journal.run(run_id))

    async def complete(self, run: RunRecord) -> RunRecord:
        """A run of the journal with all its parameters. Raises PayloadError like `recorded`."""
        return await with_params(run, self._payloads)

    def resume_as(self, planned: Plan[R], *, started_by: str | None = None) -> RunHandle[R]:
        """Resume a run as ``lokki.engine.resuming.plan`` planned it; otherwise like `resume`.

        For callers that show beforehand what runs again.
        """
        return self._start(
            planned.graph,
            planned.run_id,
            planned,
            started_by=started_by,
            no_cache=planned.no_cache,
        )

    def _start(
        self,
        graph: FlowGraph[R],
        run_id: str,
        planned: Plan[R] | None = None,
        *,
        started_by: str | None,
        no_cache: bool,
        tags: Sequence[str] = (),
    ) -> RunHandle[R]:
        if not self._open:
            raise LokkiError("this engine is not open: use it in 'async with Engine() as engine'")
        if self._cluster is None:
            check_cluster(graph)
        self._shared.check(graph)
        check_caching(graph)
        run = Run(
            graph,
            run_id,
            journal=self.journal,
            payloads=self._payloads,
            lanes=self._lanes,
            limits=self._shared.of(graph),
            waits=self._local.waits,
            previews=self._local.previews,
            planned=planned,
            started_by=started_by,
            no_cache=no_cache,
            tags=tags,
            echo=self._echo,
            notifier=self.notifier,
        )
        self._runs.add(run)
        task = asyncio.get_running_loop().create_task(run.drive(), name=f"lokki run {run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._runs.discard(run))
        return RunHandle(run)


def _configured() -> Config:
    """The configuration of a program that gives none; warns of unknown variables."""
    for warning in unknown_variables():
        warnings.warn(warning, stacklevel=3)
    return load()


def _places(
    journal: str | os.PathLike[str] | None, payloads: PayloadStore | None, config: Config
) -> tuple[Place, PayloadStore]:
    """Where the journal and the payloads are, by default or as given."""
    path = journal_path(config) if journal is None else journal_place(journal, "Engine: journal")
    store = payload_store(path, config) if payloads is None else payloads
    if str(path) == ":memory:":
        raise DefinitionError(
            "Engine: the journal must be a file, not ':memory:': write a path, such as "
            "journal='lokki.db', or one in a temporary folder to keep nothing"
        )
    return path, store


def _graph(
    flow: FlowGraph[R] | FlowDefinition[..., R], params: Mapping[str, Any] | None
) -> FlowGraph[R]:
    if isinstance(flow, FlowDefinition):
        return flow.trace(params or {})
    if not isinstance(flow, FlowGraph):
        raise DefinitionError(f"an engine runs a flow or its graph, not {flow!r}: see @flow")
    if params is None:
        return flow
    if flow.flow is None:
        return replace(flow, params={**flow.params, **params})
    return flow.flow.trace(params, checked=flow.params)


def resumed_graph(
    run: RunRow, flow: FlowDefinition[..., R], secrets: Mapping[str, Any], *, to_run: bool = True
) -> FlowGraph[R]:
    """A run's graph, with its parameters, its secrets and the current code of its flow.

    Without ``to_run``, no secret is needed. Raises DefinitionError when the run belongs to another
    flow, ParameterError for a wrong or missing secret.
    """
    if run.flow != flow.name:
        raise DefinitionError(f"run {run.id} belongs to flow '{run.flow}', not '{flow.name}'")
    known = {} if to_run else {each.name: Secret(HIDDEN) for each in flow.parameters.secrets}
    return flow.trace(secrets, checked={**known, **loads(run.params)})


def new_run_id() -> str:
    """A new run id: UTC time to the millisecond, then five random characters; sorts by time."""
    now = datetime.now(UTC)
    tail = "".join(_TAIL[byte % 32] for byte in token_bytes(5))
    return f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}{tail}"


def engine_for(graph: FlowGraph[Any], **options: Any) -> Engine:
    """An engine with these options that prepares for the processes of a graph when it opens."""
    engine = Engine(**options)
    needed = lanes_needed(graph, cluster=engine._cluster is not None)
    engine._expects_processes |= "process" in needed
    return engine
