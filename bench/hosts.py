"""Two servers of two runners each on one PostgreSQL journal, as on two hosts: runs a second.

Beside them two processes of DBOS, which share a queue on the same PostgreSQL server, and one server
on SQLite, all with as many clients. Each commit is synced to the disk of the repository.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from time import perf_counter, sleep

from compare import DBOS, NotInstalled, Peer, interpreter
from timing import (
    HERE,
    NO_BOUND,
    ROOT,
    WORK,
    Bound,
    add_options,
    alternate,
    begin,
    column,
    directory,
    environment,
    seconds,
    spread,
    table,
    times,
)

from server import Server, server

sys.path.insert(0, str(ROOT / "tests"))
from postgres_server import PostgresServer

PEER = Peer("DBOS, queue", "hosts_dbos.py", "yes", DBOS)
OF_DBOS = Bound(0.2, 0.05, times)


def lokki(hosts: int, count: int, clients: int, url: str | None) -> float:
    """Seconds a run of one step, of servers that share a journal, with ``clients`` for each."""
    with ExitStack() as open_:
        servers: list[Server] = []
        for _ in range(hosts):
            place = open_.enter_context(directory())
            servers.append(open_.enter_context(server(place, 2, url)))
        began = perf_counter()
        posting = [
            threading.Thread(target=_post, args=(each, count // hosts // clients))
            for each in servers
            for _ in range(clients)
        ]
        for each in posting:
            each.start()
        for each in posting:
            each.join()
        while not _is_idle(servers[0]):
            sleep(0.01)
        return (perf_counter() - began) / (count // hosts // clients * clients * hosts)


def _post(found: Server, count: int) -> None:
    for _ in range(count):
        found.start("single")


def _is_idle(found: Server) -> bool:
    return b'"runs":[]' in found.ask("GET", "/runs?status=queued&status=running&n=1")[1]


def dbos(hosts: int, count: int, clients: int, url: str) -> float:
    """The same of DBOS."""
    script = HERE / "peers" / PEER.script
    processes = [
        subprocess.Popen(
            [interpreter(PEER), script, url, f"host-{number}", str(count // hosts), str(clients)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for number in range(hosts)
    ]
    try:
        for each in processes:
            if _line(each) != "ready":
                raise SystemExit("DBOS did not start")
        for each in processes:
            _say(each)
        took = max(float(_line(each)) for each in processes)
        for each in processes:
            _say(each)
            each.wait(60)
        return took / count
    finally:
        for each in processes:
            each.kill()
            each.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, 3)
    parser.add_argument("--clients", type=int, default=8, help="clients a host")
    parser.add_argument("--no-peers", action="store_true", help="leave DBOS out")
    options = parser.parse_args()
    begin(options)
    count = 160 if options.quick else 2_000
    measures: list[Callable[[], float]] = [lambda: lokki(1, count, options.clients, None)]
    WORK.mkdir(exist_ok=True)
    with closing(PostgresServer(fsync=True, place=WORK)) as found:
        measures.append(lambda: lokki(2, count, options.clients, found.journal().url))
        try:
            if not options.no_peers:
                interpreter(PEER)
                measures.append(lambda: dbos(2, count // 4, options.clients, found.url()))
        except NotInstalled as error:
            print(f"{PEER.name}: not installed: {error}")
        turns = alternate(options.repeat, *measures)
    here, hosts = (column(turns, index) for index in range(2))
    rows = [
        ("one server, 2 runners, SQLite", seconds(here), f"{1 / here:.0f}/s", "", *NO_BOUND),
        ("two servers, 2 runners each, PostgreSQL", seconds(hosts), f"{1 / hosts:.0f}/s", "",
         *NO_BOUND),
    ]  # fmt: skip
    if len(measures) > 2:
        other = column(turns, 2)
        ratio = [turn[1] / turn[2] for turn in turns]
        of_dbos = column([(each,) for each in ratio], 0)
        rows[1] = (*rows[1][:3], spread(ratio), *OF_DBOS.cells(of_dbos))
        name = f"{DBOS.replace('==', ' ')}, a queue, two processes, PostgreSQL"
        rows.append((name, seconds(other), f"{1 / other:.0f}/s", "", *NO_BOUND))
    table(f"{count:,} runs of one step", ("", "a run", "", "of DBOS", "bound", ""), rows)


if __name__ == "__main__":
    main()
