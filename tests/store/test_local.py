import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_IMODE

import anyio
import pytest

from lokki.errors import PayloadError
from lokki.store import local
from lokki.store.keys import output_key, run_prefix
from lokki.store.local import LocalStore
from lokki.store.protocol import BlockingStore, DeletingStore, PayloadStore
from lokki.testing.stores import PayloadStoreConformance

KEY = output_key("flow", "run-1", "step", 0)


class TestLocalStore(PayloadStoreConformance):
    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(tmp_path / "a root" / "payloads")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def store(root):
    return LocalStore(root)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_it_is_every_kind_of_store(store):
    every: PayloadStore = store
    assert isinstance(every, BlockingStore)
    assert isinstance(every, DeletingStore)


def test_an_object_is_a_file_where_its_key_says(store, root):
    store.write(KEY, b"x")
    assert files(root) == {KEY}
    assert (root / KEY).read_bytes() == b"x"


def test_another_store_on_the_same_root_sees_it(store, root):
    store.write(KEY, b"x")
    assert LocalStore(root).read(KEY) == b"x"


def test_a_relative_root_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = LocalStore(Path("here"))
    monkeypatch.chdir("/")
    store.write(KEY, b"x")
    assert files(tmp_path / "here") == {KEY}


def test_urls_open_the_file(tmp_path):
    store = LocalStore(tmp_path / "with space")
    assert store.url(KEY) == (tmp_path / "with space" / KEY).as_uri()
    assert store.url(KEY).startswith("file:///")


def test_only_the_owner_may_read(store, root):
    store.write(KEY, b"x")
    assert S_IMODE((root / KEY).stat().st_mode) == 0o600
    directory = root / KEY
    while directory != root:
        directory = directory.parent
        assert S_IMODE(directory.stat().st_mode) == 0o700


def test_nothing_outside_the_root_is_touched(store, tmp_path):
    (tmp_path / "outside").write_bytes(b"kept")
    for key in ("../outside", "a/../../outside", str(tmp_path / "outside")):
        for act in (lambda: store.write(key, b"x"), lambda: store.read(key)):
            with pytest.raises(PayloadError, match=r"cannot be part of a storage key"):
                act()
    assert files(tmp_path) == {"outside"}


class Syncs:
    """Records what is synced and renamed, in order, by path."""

    def __init__(self, monkeypatch):
        self.events = []
        fsync, replace, mkdir = os.fsync, os.replace, os.mkdir

        def record_fsync(handle):
            status = os.fstat(handle)
            self.events.append(("sync", status.st_ino))
            fsync(handle)

        def record_replace(source, target):
            self.events.append(("replace", os.stat(source).st_ino))
            replace(source, target)

        def record_mkdir(path, mode=0o777):
            mkdir(path, mode)
            self.events.append(("mkdir", str(path)))

        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "replace", record_replace)
        monkeypatch.setattr(os, "mkdir", record_mkdir)

    def take(self):
        events, self.events = self.events, []
        return events


def inode(path):
    return path.stat().st_ino


def test_a_write_is_on_disk_before_it_returns(tmp_path, monkeypatch):
    syncs = Syncs(monkeypatch)
    root = tmp_path / "new" / "root"
    store = LocalStore(root)
    store.write("flow/runs/step", b"x")
    path = root / "flow" / "runs" / "step"
    made = [root.parent, root, root / "flow", root / "flow" / "runs"]
    expected = []
    for directory in made:
        expected.append(("mkdir", str(directory)))
        if directory in (root.parent, root):
            expected.append(("sync", inode(directory.parent)))
    file, directory = inode(path), inode(path.parent)
    expected += [("sync", file), ("sync", inode(root / "flow")), ("sync", inode(root))]
    expected += [("replace", file), ("sync", directory)]
    assert syncs.take() == expected


def test_later_writes_sync_only_what_is_new(store, root, monkeypatch):
    store.write("flow/runs/0/output", b"x")
    syncs = Syncs(monkeypatch)
    store.write("flow/runs/1/output", b"x")
    path = root / "flow" / "runs" / "1" / "output"
    assert syncs.take() == [
        ("mkdir", str(path.parent)),
        ("sync", inode(path)),
        ("sync", inode(path.parent.parent)),
        ("replace", inode(path)),
        ("sync", inode(path.parent)),
    ]


def test_the_next_item_of_a_map_syncs_its_file_and_the_folder_of_all(store, root, monkeypatch):
    first, second = (output_key("flow", "run-1", "step", index, "w1") for index in (0, 1))
    store.write(first, b"x")
    syncs = Syncs(monkeypatch)
    store.write(second, b"x")
    path = root / second
    assert syncs.take() == [
        ("sync", inode(path)),
        ("replace", inode(path)),
        ("sync", inode(path.parent)),
    ]


def test_directories_that_another_made_are_synced_too(store, root, monkeypatch):
    (root / "flow" / "runs").mkdir(parents=True)
    syncs = Syncs(monkeypatch)
    store.write("flow/runs/step", b"x")
    events = syncs.take()
    file = inode(root / "flow" / "runs" / "step")
    above = [("sync", inode(root / "flow")), ("sync", inode(root))]
    assert events[: events.index(("replace", file))] == [("sync", file), *above]


def test_what_is_remembered_is_bounded(store, monkeypatch):
    for index in range(10):
        store.write(output_key("flow", "run-1", "step", index, "w1"), b"x")
    assert len(store._settled) == len(["flow", "runs", "run-1", "step", "w1"])
    monkeypatch.setattr(local, "_MAX_SETTLED", 5)
    for n in range(20):
        store.write(f"flow/{n}/step/output", b"x")
        assert len(store._settled) <= 5


def test_a_removed_root_is_made_again(store, root):
    store.write("flow/output", b"x")
    (root / "flow" / "output").unlink()
    (root / "flow").rmdir()
    root.rmdir()
    store.write("flow/output", b"y")
    assert store.read("flow/output") == b"y"


@pytest.mark.asyncio
async def test_deleting_takes_empty_directories_along(store, root):
    await store.put(output_key("flow", "run-1", "a", 3), b"x")
    await store.put(output_key("flow", "run-2", "a"), b"x")
    assert await store.delete_prefix(run_prefix("flow", "run-1")) == 1
    assert [path.name for path in (root / "flow" / "runs").iterdir()] == ["run-2"]
    await store.delete(output_key("flow", "run-2", "a"))
    assert root.is_dir()
    assert list(root.iterdir()) == []


@pytest.mark.asyncio
async def test_left_over_temporary_files_are_no_objects(store, root):
    await store.put(KEY, b"x")
    left = (root / KEY).parent / ".abc.tmp"
    left.write_bytes(b"half")
    (root / "flow" / "not ours.txt").write_bytes(b"")
    (root / "flow" / ".hidden").mkdir()
    (root / "flow" / ".hidden" / "file").write_bytes(b"")
    assert await store.list("flow") == [KEY]
    assert await store.delete_prefix(run_prefix("flow", "run-1")) == 1
    assert not left.exists()


@pytest.mark.asyncio
async def test_deletion_does_not_follow_symbolic_links(store, root, tmp_path):
    await store.put(KEY, b"x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"kept")
    (root / "flow" / "runs" / "run-1" / "link").symlink_to(outside)
    assert await store.list("flow") == [KEY]
    assert await store.delete_prefix("flow") == 1
    assert (outside / "file").read_bytes() == b"kept"


def test_threads_write_one_key(store, root):
    values = [bytes([n]) * 5000 for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda value: store.write(KEY, value), values * 4))
    assert store.read(KEY) in values
    assert files(root) == {KEY}


def test_writes_survive_deletions_beside_them(root):
    deleter, writer = LocalStore(root), LocalStore(root)
    stop = threading.Event()

    def delete():
        while not stop.is_set():
            deleter._delete_prefix("flow/runs/none")
            deleter.write("flow/runs/old/step/output", b"x")
            assert deleter._delete_prefix("flow/runs/old") == 1

    with ThreadPoolExecutor(1) as pool:
        deletions = pool.submit(delete)
        try:
            for n in range(150):
                writer.write(f"flow/runs/{n}/output", b"x")
                assert writer._delete_prefix(f"flow/runs/{n}") == 1
        finally:
            stop.set()
        deletions.result()


def test_a_write_starts_anew_when_its_directory_goes(store, root, monkeypatch):
    replace, calls = os.replace, []

    def lose_once(source, target):
        calls.append(source)
        if len(calls) == 1:
            store._delete_prefix("flow")
        replace(source, target)

    monkeypatch.setattr(os, "replace", lose_once)
    store.write(KEY, b"x")
    assert len(calls) == 2
    assert files(root) == {KEY}


def test_two_event_loops_at_once(store):
    async def put(n):
        async with anyio.create_task_group() as tasks:
            for m in range(30):
                tasks.start_soon(store.put, f"a/{n}/{m}", b"x")
        return await store.list(f"a/{n}")

    with ThreadPoolExecutor(2) as pool:
        assert [len(keys) for keys in pool.map(lambda n: anyio.run(put, n), (1, 2))] == [30, 30]


# What follows needs real refusals; a superuser may run these tests, so modes do not give any.

FILE_LIMIT = """
import resource, sys
from pathlib import Path
from lokki.errors import PayloadError
from lokki.store.local import LocalStore

store = LocalStore(Path(sys.argv[1]))
store.write("flow/output", b"old")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
try:
    store.write("flow/output", bytes(1_000_000))
except PayloadError as error:
    print(error)
assert store.read("flow/output") == b"old"
store.write("flow/output", b"new")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
"""


def test_too_large_a_file_leaves_nothing_behind(store, root):
    run = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT, str(root)], capture_output=True, text=True, check=True
    )
    assert run.stdout == (
        f"cannot store 'flow/output' in {root}: File too large: "
        "raise the file size limit and resume; nothing recorded is lost\n"
    )
    assert files(root) == {"flow/output"}
    assert store.read("flow/output") == b"new"


def test_a_full_disk_leaves_nothing_behind(store, root, monkeypatch):
    write, calls = os.writev, []

    def full(handle, buffers):
        calls.append(sum(map(len, buffers)))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, [buffers[0][:10]])

    store.write(KEY, b"old")
    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(PayloadError) as caught:
        store.write(KEY, b"x" * 100)
    monkeypatch.undo()
    assert calls == [100, 90]
    assert str(caught.value) == (
        f"cannot store '{KEY}' in {root}: No space left on device: "
        "free some space and resume; nothing recorded is lost"
    )
    assert isinstance(caught.value.__cause__, OSError)
    assert files(root) == {KEY}
    assert store.read(KEY) == b"old"


def test_a_failed_sync_fails_the_write(store, root, monkeypatch):
    def fail(handle):
        raise OSError(errno.EIO, "Input/output error")

    store.write(KEY, b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PayloadError, match="Input/output error: fix that and resume"):
        store.write(KEY, b"new")
    monkeypatch.undo()
    assert files(root) == {KEY}
    assert store.read(KEY) == b"old"


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "root").write_bytes(b"a file")
    with pytest.raises(PayloadError, match="File exists: move away the file that is in the way"):
        LocalStore(tmp_path / "root").write(KEY, b"x")
    with pytest.raises(PayloadError, match="File exists: move away"):
        LocalStore(tmp_path / "root" / "below").write(KEY, b"x")
    store = LocalStore(tmp_path)
    with pytest.raises(PayloadError, match="File exists: move away"):
        store.write("root/output", b"x")
    with pytest.raises(PayloadError, match="no payload is stored under 'root/output'"):
        store.read("root/output")


def test_a_directory_in_the_way(store, root):
    (root / "flow" / "output").mkdir(parents=True)
    with pytest.raises(PayloadError, match=r"cannot store 'flow/output'"):
        store.write("flow/output", b"x")
    assert files(root) == set()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a proc file system")
def test_a_root_that_cannot_be_made():
    with pytest.raises(PayloadError, match=f"cannot store '{KEY}' in /proc/lokki: "):
        LocalStore(Path("/proc/lokki")).write(KEY, b"x")


@pytest.mark.asyncio
async def test_what_cannot_be_looked_at_is_an_error(store, root):
    root.mkdir()
    (root / "loop").symlink_to("loop")
    with pytest.raises(PayloadError, match=r"cannot read 'loop/output'.*symbolic links"):
        await store.get("loop/output")
    with pytest.raises(PayloadError, match=r"cannot look for 'loop/output'.*symbolic links"):
        await store.exists("loop/output")
    with pytest.raises(PayloadError, match=r"cannot list 'loop/a'.*symbolic links"):
        await store.list("loop/a")
    with pytest.raises(PayloadError, match=r"cannot delete 'loop/a'.*symbolic links"):
        await store.delete_prefix("loop/a")


@pytest.mark.asyncio
async def test_a_deletion_that_fails_says_so(store, root, monkeypatch):
    def refuse(path):
        raise OSError(errno.EROFS, "Read-only file system")

    await store.put(KEY, b"x")
    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(PayloadError, match=r"cannot delete 'flow'.*make the directory writable"):
        await store.delete_prefix("flow")
