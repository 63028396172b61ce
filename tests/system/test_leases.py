import os
import signal
import threading
import time

import pytest

from bit_keras.system import leases
from bit_keras.system.leases import Watch


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.02)
    monkeypatch.setattr(leases, "PATIENCE", 1.0)


def _taken_after(watch: Watch, folder) -> float:
    """Waits until a watch gets a lease; returns the seconds that it took."""
    start = time.monotonic()
    while not (lease := watch.take(folder)):
        assert time.monotonic() - start < 20
        time.sleep(0.01)
    lease.remove()
    return time.monotonic() - start


def test_a_lease_has_one_holder_as_long_as_it_is_renewed(tmp_path):
    lease, other = Watch().take(tmp_path / "cell"), Watch()
    deadline = time.monotonic() + 1.5 * leases.PATIENCE
    while time.monotonic() < deadline:
        assert not other.is_free(tmp_path / "cell")
        assert other.take(tmp_path / "cell") is None
        time.sleep(0.01)
    assert other.holder(tmp_path / "cell").startswith(f"process {os.getpid()} on ")
    lease.remove()
    assert other.is_free(tmp_path / "cell")
    assert not list((tmp_path / "cell").iterdir())


def test_a_released_lease_is_free_at_once(tmp_path):
    watch = Watch()
    watch.take(tmp_path).release()
    assert watch.is_free(tmp_path)
    assert Watch().take(tmp_path) is not None
    assert watch.take(tmp_path) is None


@pytest.mark.parametrize("content", [None, b"", b"\xff{"])
def test_the_lease_of_a_killed_process_is_taken_over_after_a_while(tmp_path, content):
    begin, end = os.pipe()
    child = os.fork()
    if not child:
        Watch().take(tmp_path)
        os.write(end, b".")
        signal.pause()
    os.read(begin, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if content is not None:  # killed while it wrote
        (tmp_path / ".lease.0").write_bytes(content)
    assert leases.PATIENCE <= _taken_after(Watch(), tmp_path) < leases.PATIENCE + 5


def test_the_clock_of_the_holder_does_not_matter(tmp_path):
    lease = Watch().take(tmp_path)
    os.utime(tmp_path / ".lease.0", (0, 0))
    assert Watch().take(tmp_path) is None
    lease.abandon()
    os.utime(tmp_path / ".lease.0", (2**33, 2**33))
    assert _taken_after(Watch(), tmp_path) >= leases.PATIENCE


def test_a_dead_lease_has_one_heir(tmp_path):
    Watch().take(tmp_path).abandon()
    watches = [Watch() for _ in range(8)]
    for watch in watches:
        assert watch.take(tmp_path) is None
    time.sleep(leases.PATIENCE)
    barrier, heirs = threading.Barrier(8), []

    def inherit(watch: Watch) -> None:
        barrier.wait()
        if lease := watch.take(tmp_path):
            heirs.append(lease)

    threads = [threading.Thread(target=inherit, args=(watch,)) for watch in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heirs) == 1


def test_who_judged_a_lease_dead_does_not_take_that_of_the_heir(tmp_path):
    dead = Watch().take(tmp_path)
    dead.abandon()
    slow, fast = Watch(), Watch()
    assert not slow.is_free(tmp_path)
    assert not fast.is_free(tmp_path)
    time.sleep(leases.PATIENCE)
    assert slow.is_free(tmp_path)
    heir = fast.take(tmp_path)
    assert heir is not None
    assert slow.take(tmp_path) is None
    dead.release()  # it was only slow; its word does not count any more
    assert slow.take(tmp_path) is None
    heir.remove()
    assert not list(tmp_path.iterdir())
