"""Several workers take the steps that one takes: of threads here, of processes with ``launch``."""

import signal
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import small_config
from test_training import KINDS, kind_model, values

from aae_mx import exchange
from aae_mx.backend import mx
from aae_mx.data import load_dataset
from aae_mx.errors import InputError, Interrupted
from aae_mx.exchange import Exchange
from aae_mx.model import AAE
from aae_mx.runs.checkpoint import Position
from aae_mx.runs.directory import Unwritten
from aae_mx.training import batches, loop
from aae_mx.training.optimizers import Learner

nd = mx.nd


class Threads(Exchange):
    """Workers that are threads of this process."""

    def __init__(self, rank, n, shared):
        self.rank, self.n = rank, n
        self.barrier, self.arrays = shared

    def sum(self, name, arrays):
        self.arrays[self.rank] = name, [array.asnumpy() for array in arrays]
        self.barrier.wait()
        assert len({name for name, _ in self.arrays}) == 1
        total = [sum(of_all) for of_all in zip(*(own for _, own in self.arrays))]
        self.barrier.wait()
        for array, value in zip(arrays, total):
            array[:] = value

    def any(self, flag):
        flags = nd.array([flag])
        self.sum("any", [flags])
        return bool(flags.asscalar())


@pytest.fixture
def in_threads(monkeypatch):
    """The results of ``work(worker)`` of n workers, in threads."""
    current = threading.local()
    monkeypatch.setattr(exchange, "of_environment", lambda: current.worker)

    def in_threads(n, work):
        shared, results = (threading.Barrier(n, timeout=60), [None] * n), [None] * n

        def run(rank):
            current.worker = Threads(rank, n, shared) if n > 1 else Exchange()
            try:
                results[rank] = work(current.worker)
            except BaseException:
                shared[0].abort()
                raise

        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    return in_threads


@pytest.mark.parametrize("n", [pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "convolutions" not in kind])
def test_workers_learn_what_one_learns(kind, n, in_threads):
    """Convolutions normalise over a worker's own rows, so they are not among these."""

    def work(worker):
        mode = kind_model(kind, optimizer="sgd", batch_size=25).mode
        learn = Learner(mode)
        rng = np.random.default_rng(0)
        images, labels = nd.array(rng.random((60, mode.n_pixels))), None
        if mode.config.labels_kind != "none":
            labels = np.arange(60) % 10
            if mode.config.labels_kind == "some":
                labels[20:] = 10
        # Of the last batch of an epoch there are fewer images.
        for epoch in (1, 2):
            of = (worker.rank, worker.n)
            for batch in batches.epoch_batches(mode, images, labels, epoch, worker=of):
                learn.at(epoch, batch.left, batch.share)
                mode.step(batch, learn)
        return values(mode)

    [alone] = in_threads(1, work)
    for learnt in in_threads(n, work):
        for name, arrays in alone.items():
            for key, array in arrays.items():
                np.testing.assert_allclose(learnt[name][key], array, rtol=1e-4, atol=1e-5)


def test_batches_of_workers_are_every_nth_row(in_threads):
    """Of the images that come again as they have a label, too; nothing is left out."""

    def work(worker):
        mode = kind_model("classification", batch_size=25).mode
        images = nd.array(np.arange(60.0).reshape(60, 1).repeat(mode.n_pixels, axis=1))
        labels = np.where(np.arange(60) < 20, np.arange(60) % 10, 10)
        of = (worker.rank, worker.n)
        return [
            (b.images.asnumpy()[:, 0], b.drawn, b.n_all, b.n_own, b.n_known, b.share, b.own_share)
            for b in batches.epoch_batches(mode, images, labels, 1, worker=of)
        ]

    [alone] = in_threads(1, work)
    for whole, *some in zip(alone, *in_threads(3, work)):
        rows, drawn = whole[0], whole[1]
        own = rows[: len(rows) - drawn]
        for rank, (part, n_drawn, *numbers, share, own_share) in enumerate(some):
            again = rows[len(own) :][rank::3]
            np.testing.assert_array_equal(part, [*own[rank::3], *again])
            assert n_drawn == len(again) and numbers == list(whole[2:5])
            assert share == len(part) / len(rows)
            assert own_share == (len(part) - n_drawn) / len(own)
    assert alone[0][5:] == (1, 1)


def test_a_worker_reads_its_own_rows_of_a_file():
    """Each image of an epoch is read by one worker, once."""

    class Watched:
        def __init__(self, array):
            self.array, self.read = array, []

        def __len__(self):
            return len(self.array)

        def __getitem__(self, rows):
            self.read.extend(rows)
            return self.array[rows]

    mode = kind_model("unsupervised", batch_size=25).mode
    images, read = np.zeros((60, *mode.image_shape), np.uint8), []
    for rank in range(3):
        watched = Watched(images)
        sizes = [
            len(b.images) for b in batches.epoch_batches(mode, watched, None, 1, worker=(rank, 3))
        ]
        assert len(watched.read) == sum(sizes)
        read += watched.read
    assert sorted(read) == list(range(60))


def test_a_signal_to_one_stops_all_at_the_same_step(in_threads, monkeypatch):
    """Also one that comes just after they have asked each other."""
    monkeypatch.setattr(loop, "LOG_EVERY", 2)

    def work(worker):
        mode = kind_model("unsupervised", batch_size=10).mode
        stop = []

        def watch(step, means):
            if worker.rank == 1:
                stop.append(signal.SIGTERM)

        images = nd.array(np.random.default_rng(0).random((60, mode.n_pixels)))
        return loop.train_epoch(mode, Learner(mode), images, None, 1, watch, stop=stop)

    (step, sums), (other, same) = in_threads(2, work)
    assert step == other == 4 and sums == same


def test_a_signal_while_the_first_measures_stops_all(in_threads, monkeypatch, tmp_path):
    """The others are then in the next epoch, and would wait there for ever."""
    signals, held_out = {}, loop._held_out

    @contextmanager
    def signals_of_this():
        yield signals.setdefault(threading.get_ident(), [])

    def measured(model, dataset):
        signals[threading.get_ident()].append(signal.SIGINT)
        return held_out(model, dataset)

    monkeypatch.setattr(loop, "stop_signals", signals_of_this)
    monkeypatch.setattr(loop, "_held_out", measured)
    dataset = load_dataset(small_config())

    def work(worker):
        model = AAE(small_config(epochs=3), dataset.image_shape, dataset.classes)
        given = (
            Unwritten(tmp_path),
            model,
            Learner(model.mode),
            dataset,
            Position(),
            True,
            1,
            None,
        )
        with pytest.raises(Interrupted) as told:
            loop._train(*given)
        return told.value.signal, str(told.value)

    (number, message), (other, same) = in_threads(2, work)
    assert (number, other) == (signal.SIGINT, signal.SIGTERM)
    assert message == same and "stopped after epoch 1, step 0, and saved" in message


def test_every_worker_needs_a_row():
    mode = kind_model("unsupervised", batch_size=25).mode
    mode.exchange = Threads(0, 11, (None, None))
    batches.check_workers(mode, 61)
    with pytest.raises(InputError, match="11 workers for batches of which the smallest has 10"):
        batches.check_workers(mode, 60)
