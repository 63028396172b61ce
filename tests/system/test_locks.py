import errno
import json
import os
import signal
import threading
import time

import pytest

from bit_keras.system import locks


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


def _in_fork(work) -> int:
    """Starts a process that calls a function and then waits, and returns its number when the function has returned."""
    begin, end = os.pipe()
    child = os.fork()
    if not child:
        try:
            work()
            os.write(end, b".")
            signal.pause()
        finally:
            os._exit(1)
    os.close(end)
    assert os.read(begin, 1) == b".", "the function failed"
    os.close(begin)
    return child


def _kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def test_a_lock_has_one_holder_and_leaves_no_file(path):
    for _ in range(2):
        with locks.held(path):
            with pytest.raises(BlockingIOError), locks.held(path):
                pass
            assert locks.holder(path).startswith(f"process {os.getpid()} on ")
        assert not path.exists()


def test_a_killed_process_releases_its_lock(path):
    context = locks.held(path)
    child = _in_fork(context.__enter__)
    with pytest.raises(BlockingIOError), locks.held(path):
        pass
    assert locks.holder(path).startswith(f"process {child} on ")
    _kill(child)
    with locks.held(path):
        assert locks.holder(path).startswith(f"process {os.getpid()} on ")


def test_a_killed_holder_is_not_named_for_the_next_one(path):
    child = _in_fork(locks.held(path).__enter__)
    content = path.read_text()
    _kill(child)
    thread = threading.Timer(0.2, path.write_text, [json.dumps({"pid": 1, "host": "other", "since": "noon"})])
    path.write_text(content)
    thread.start()
    assert locks.holder(path) == "process 1 on other, since noon"


def test_a_fork_does_not_release_the_lock_of_its_parent(path):
    with locks.held(path) as descriptor:
        context = locks.held(path.with_name("another"))
        context.__enter__()
        child = os.fork()
        if not child:
            context.__exit__(None, None, None)
            os._exit(0)
        os.waitpid(child, 0)
        assert path.with_name("another").exists()
        assert locks.is_same(descriptor, path)
        context.__exit__(None, None, None)
    assert not path.with_name("another").exists()


def test_a_deleted_file_is_noticed(path):
    with locks.held(path) as descriptor:
        path.unlink()
        assert not locks.is_same(descriptor, path)
        path.touch()
        assert not locks.is_same(descriptor, path)
    assert path.exists(), "that of another process"


def test_in_turn(path):
    inside, most = [], []

    def work():
        with locks.in_turn(path):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1] * 5


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks(path, monkeypatch, number):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with pytest.raises(locks.NoLocksError, match="no locks for files in"), locks.held(path):
        pass
    assert not path.exists()
    with locks.in_turn(path):
        pass


def test_whether_a_lock_is_held(path):
    assert not locks.is_held(path)
    with locks.held(path):
        before = path.read_bytes()
        assert locks.is_held(path)
        assert path.read_bytes() == before
    assert not locks.is_held(path)
    path.write_text("left by a killed process")
    assert not locks.is_held(path)
    assert path.read_text() == "left by a killed process"
