"""File systems that lack something, answer with an error, or hold something else."""

import errno
import fcntl
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import SimpleNamespace

import pytest
from conftest import create, small_config

import aae_mx
from aae_mx.errors import InputError
from aae_mx.files import check_directory, free_bytes, inside, lock, make_directory, write_aside
from aae_mx.model import AAE, check_room
from aae_mx.runs.directory import Run
from aae_mx.training import loop as training
from aae_mx.training.progress import Progress


def failing(number):
    """A function that fails as the system does, with the error of this number."""

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def model():
    return AAE(small_config(), (28, 28), "0123456789")


# Locks.


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_lock_of_another_process(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", failing(number))
    with pytest.raises(InputError, match="another process is training there"):
        lock(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP])
def test_file_systems_without_locks(tmp_path, monkeypatch, capsys, model, number):
    """One line, once, and the training goes on."""
    monkeypatch.setattr(fcntl, "flock", failing(number))
    run = tmp_path / "run"
    with create(model, run):
        pass
    with Run.reopen(run):
        pass
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith(f"{run}: this file system has no locks")


def test_lock_that_fails_otherwise(tmp_path, monkeypatch, model):
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    with pytest.raises(InputError, match="cannot be made a run's directory .*Input/output error"):
        create(model, tmp_path / "run")


def test_links_as_lock(tmp_path, model):
    (tmp_path / ".lock").symlink_to("/dev/null")
    with pytest.raises(InputError, match="lock: it is a link, which is not written through"):
        create(model, tmp_path)


# Writing.


def directories_only(fail):
    fsync = os.fsync

    def some(descriptor):
        return (fail if stat.S_ISDIR(os.fstat(descriptor).st_mode) else fsync)(descriptor)

    return some


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_file_systems_that_do_not_flush(tmp_path, monkeypatch, number):
    """First directories only, then nothing at all."""
    for fsync in (directories_only(failing(number)), failing(number)):
        monkeypatch.setattr(os, "fsync", fsync)
        write_aside(tmp_path / "file", lambda file: file.write(b"whole"))
        assert (tmp_path / "file").read_bytes() == b"whole"
        assert os.listdir(tmp_path) == ["file"]


def test_flushing_that_fails_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(InputError, match="file: cannot be written .*Input/output error"):
        write_aside(tmp_path / "file", lambda file: file.write(b"whole"))
    assert os.listdir(tmp_path) == []


def test_directories_that_cannot_be_read_can_be_written(tmp_path, monkeypatch):
    real = os.open

    def some(path, flags, *mode, **options):
        return (failing(errno.EACCES) if os.path.isdir(path) else real)(path, flags, *mode)

    monkeypatch.setattr(os, "open", some)
    write_aside(tmp_path / "file", lambda file: file.write(b"whole"))
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_write_aside_in_a_place_that_is_none(tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file" / "x", tmp_path / "missing" / "x"):
        with pytest.raises(InputError, match="x: cannot be written"):
            write_aside(place, lambda file: None)


def test_write_aside_leaves_nothing_whatever_happens(tmp_path):
    def write(file):
        raise MemoryError

    with pytest.raises(MemoryError):
        write_aside(tmp_path / "file", write)
    assert os.listdir(tmp_path) == []


def test_a_link_to_itself(supervised_run, tmp_path):
    shutil.copytree(supervised_run, tmp_path / "run")
    for name in ("config.json", "checkpoints/checkpoint-00002-0000000.npz"):
        file = tmp_path / "run" / name
        file.unlink()
        file.symlink_to(file)
        with pytest.raises(InputError, match=f"{file.name}: cannot be (followed|read)"):
            inside(tmp_path / "run", file)
            aae_mx.load(tmp_path / "run")
        file.unlink()
        shutil.copy(supervised_run / name, file)


def test_checkpoints_that_cannot_be_listed(supervised_run, tmp_path):
    """They are not taken for none, or a training would begin anew."""
    shutil.copytree(supervised_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    (tmp_path / "run/checkpoints").write_text("no directory")
    with pytest.raises(InputError, match="checkpoints: cannot be read"):
        aae_mx.load(tmp_path / "run")


def test_old_checkpoints_that_cannot_go_stay(supervised_run, tmp_path, monkeypatch):
    shutil.copytree(supervised_run, tmp_path / "run")
    unlink = type(tmp_path).unlink

    def some(path, *arguments, **options):
        held = path.name.startswith("checkpoint-00001")
        return failing(errno.EBUSY)() if held else unlink(path, *arguments, **options)

    monkeypatch.setattr(type(tmp_path), "unlink", some)
    assert aae_mx.resume(tmp_path / "run", epochs=3, quiet=True).epoch == 3
    kept = sorted(path.name[:16] for path in (tmp_path / "run/checkpoints").iterdir())
    assert kept == ["checkpoint-00001", "checkpoint-00002", "checkpoint-00003"]


# The log and the terminal.


def test_a_log_that_cannot_be_written(tmp_path, model):
    progress = Progress(model.mode, 1, 0, True, tmp_path / "train.log")
    progress.log.close()
    progress.log = open("/dev/full", "w")
    with pytest.raises(InputError, match="/dev/full: cannot be written .*No space left"):
        with progress:
            progress.line("epoch 1")


def test_a_terminal_that_cannot_be_written(tmp_path, monkeypatch, model):
    """Who read it has gone, or its disk is full: the training goes on, and the log has it all."""
    for stderr in (None, SimpleNamespace(isatty=lambda: False)):
        monkeypatch.setattr("sys.stderr", stderr)
        monkeypatch.setattr("click.echo", failing(errno.EPIPE))
        with Progress(model.mode, 1, 0, False, tmp_path / "train.log") as progress:
            for number in range(3):
                progress.line(f"line {number}")
                progress.step(1, 1, {})
    assert (tmp_path / "train.log").read_text().count("line 2\n") == 2


# Directories.


def test_check_directory_makes_nothing(tmp_path):
    check_directory(tmp_path)
    check_directory(tmp_path / "a/b/c")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file/a/b"):
        for check in (check_directory, make_directory):
            with pytest.raises(InputError, match=f"{path}: cannot be made .*file is no directory"):
                check(path)
    make_directory(tmp_path / "a/b/c")
    make_directory(tmp_path / "a/b/c")
    assert (tmp_path / "a/b/c").is_dir()


def test_directories_without_permission(tmp_path, monkeypatch):
    """Root may write everywhere, but on what is read-only."""
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(
        InputError, match=f"a: cannot be made or written .no permission in {tmp_path}"
    ):
        check_directory(tmp_path / "a")


def test_room(tmp_path, monkeypatch, model):
    """Two checkpoints stay, and one more is written beside them."""
    config = small_config(epochs=5)
    mode = model.mode
    size = 3 * 4 * sum(array.size for array in model.weights().values())
    usage = SimpleNamespace(total=10**9, free=3 * size + 200)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    check_room(tmp_path / "runs/a", [(mode, 2)])
    # More than the few numbers besides.
    usage.free -= 300
    with pytest.raises(InputError, match="need about 1.9 MB, but only 1.9 MB are free; make room"):
        check_room(tmp_path / "runs/a", [(mode, 2)])
    with pytest.raises(InputError, match="make room or choose another --out"):
        training.fit(config, tmp_path / "runs/a", quiet=True)
    assert os.listdir(tmp_path) == []
    # Some file systems do not say, and some know of none.
    usage.total = usage.free = 0
    assert free_bytes(tmp_path) is None
    monkeypatch.setattr(shutil, "disk_usage", failing(errno.ENOSYS))
    check_room(tmp_path, [(mode, 2)])


# New runs.


def test_processes_that_start_at_once_get_names_of_their_own(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    together = Barrier(6)

    def make(_):
        together.wait()
        with create(model) as run:
            return run.path.name

    with ThreadPoolExecutor(6) as pool:
        names = sorted(pool.map(make, range(6)))
    first = "gaussian_unsupervised"
    assert names == [first, *(f"{first}-{number}" for number in range(2, 7))]


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    for out in (None, tmp_path / "new", tmp_path / "own"):
        for error in (InputError("full"), KeyboardInterrupt()):
            with monkeypatch.context() as patch:

                def fail(*arguments, error=error):
                    raise error

                patch.setattr("aae_mx.runs.directory.write_aside", fail)
                with pytest.raises(type(error)):
                    create(model, out, snapshots=True)
    assert sorted(os.listdir(tmp_path)) == ["own", "runs"]
    assert os.listdir("runs") == [] and os.listdir("own") == [".lock"]
    with create(model, tmp_path / "own"):
        pass


def test_the_place_of_a_run_is_checked_before_its_data_are_loaded(tmp_path, monkeypatch):
    def load(*arguments):
        raise AssertionError("too early")

    monkeypatch.setattr(training, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter").write_text("mine")
    for out, message in (
        (tmp_path / "file", "cannot be made"),
        (tmp_path / "file/run", "cannot be made"),
        (tmp_path / "full", "it is not empty and is not overwritten"),
    ):
        with pytest.raises(InputError, match=message):
            training.fit(small_config(), out)
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(InputError, match="runs: cannot be made"):
        training.fit(small_config())
    assert sorted(os.listdir(tmp_path)) == ["file", "full", "runs"]
