"""A child process for one file of flows: describes them, checks parameters, plans resumes.

``python -m lokki_server.inspector FD FILE``. The service itself never imports user code.
"""

from __future__ import annotations

import asyncio
import sys
from hashlib import sha256
from typing import Any

from lokki import output
from lokki.config import journal_path, load
from lokki.decorators import Flow
from lokki.description import looked_into
from lokki.engine.code import Code
from lokki.engine.engine import resumed_graph
from lokki.engine.parameters import packed_params, with_configured_params
from lokki.engine.resuming import plan
from lokki.errors import LokkiError, ParameterError, ParameterProblem
from lokki.graph import FlowGraph
from lokki.loading import alias_source, file_named
from lokki.model.structure import dumped
from lokki.resumption import ResumeOptions
from lokki.secret import in_environment
from lokki.store.history import read_history
from lokki.store.jobs import as_asked
from lokki.store.parameters import written_params
from lokki.tags import run_tags
from lokki.wording import said
from lokki_server.channel import BlockingChannel, inherited
from lokki_server.requested import WrongRequest, asked_in
from lokki_server.wording import as_fields


def serve(descriptor: str, file: str) -> None:
    """Describe ``file``, then check parameters and plan resumes until the channel is closed.

    A question to code that has changed since is not answered, unless this process is new. The
    answer about a flow that is not there is empty.
    """
    code = Code()
    with inherited(descriptor) as connection:
        channel = BlockingChannel(connection)
        with code.imports(str(file_named(file))):
            flows, described = looked_into(file)
        channel.send(**described, code=code.news())
        for message in channel.messages():
            if not message["is_new"] and code.changed():
                channel.send(stale=True)
                continue
            flow = flows.get(message["flow"])
            answer: dict[str, Any] = {}
            if flow is not None and "run" in message:
                answer = asyncio.run(planned(flow, message["run"], message["again"]))
            elif flow is not None:
                answer = checked(flow, message.get("attached", b""))
            channel.send(**answer, code=code.news())


def checked(flow: Flow[..., Any], body: bytes) -> dict[str, Any]:
    """What the journal keeps of a requested run, or what is wrong with the request."""
    try:
        params, no_cache, tags = asked_in(body)
    except WrongRequest as error:
        return {"wrong": error.errors}
    secret = [each.name for each in flow.parameters if each.is_secret and each.name in params]
    try:
        if secret:
            raise ParameterError.of([_not_here(name) for name in secret])
        graph: FlowGraph[Any] = flow.trace(params)
        packed = packed_params(graph)
        all_tags = run_tags(flow.tags, tags)
    except ParameterError as error:
        problems = [(name, said(message, as_fields)) for name, message in error.problems]
        return {"errors": [{"name": name, "message": message} for name, message in problems]}
    except LokkiError as error:
        return {
            "errors": [
                {"name": None, "message": error.said(as_fields).removeprefix(f"{flow.name}: ")}
            ]
        }
    except Exception as error:  # of the flow's own body
        message = output.masked(f"{type(error).__name__}: {error}")
        return {"errors": [{"name": None, "message": message}]}
    written = written_params(packed, flow.parameters.to_json(graph.params))
    return {
        "fingerprint": graph.fingerprint,
        "structure": dumped(graph.structure),
        "asked": sha256(
            as_asked(flow.name, params, no_cache=no_cache, tags=tags).encode()
        ).hexdigest(),
        "no_cache": no_cache,
        "tags": all_tags,
        "shown": written.shown,
        "is_payload": written.is_payload,
        "attached": written.data,
    }


async def planned(flow: Flow[..., Any], run_id: str, again: dict[str, Any]) -> dict[str, Any]:
    """A summary of what a resume would do, or why the run cannot be resumed."""
    try:
        config = load()
        with read_history(journal_path(config)) as history:
            run = await with_configured_params(history.find(run_id), config)
            alias_source(run.source or "", flow)
            found = plan(history, run, resumed_graph(run, flow, {}), ResumeOptions(**again))
    except LokkiError as error:
        return {"refused": error.said(as_fields)}
    except Exception as error:  # of the flow's own body
        return {"refused": output.masked(f"{type(error).__name__}: {error}")}
    anything = run.status != "succeeded" or found.reopening is not None
    return {"summary": [said(line, as_fields) for line in found.summary], "anything": anything}


def _not_here(name: str) -> ParameterProblem:
    why = "a secret, which the server reads from its own environment: leave it out"
    return ParameterProblem(name, f"parameter '{name}' is {why}")


if __name__ == "__main__":
    output.mask(in_environment())
    serve(*sys.argv[1:])
