"""Output on terminals and pipes of all kinds."""

import io
import os
import sys

import pytest
from test_plotting import HOSTILE

from aae_mx import train
from aae_mx.commands import evaluate
from aae_mx.errors import InputError
from aae_mx.text import printable, say, shortened


def written(monkeypatch, encoding, do):
    """What ``do`` writes to a stdout of that encoding, as bytes."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        do()
    return file.buffer.getvalue()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", "- 3 x 4 ? ?"),
        ("latin-1", "- 3 × 4 ? ?"),
        ("utf-8", "– 3 × 4 猫 ?"),
    ],
)
def test_what_a_terminal_lacks_is_replaced(monkeypatch, encoding, expected):
    output = written(monkeypatch, encoding, lambda: say("– 3 × 4 猫 \udce9"))
    assert output == expected.encode(encoding) + b"\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_on_such_terminals(monkeypatch, encoding):
    """It has a root and a plus-minus."""

    def help():
        with pytest.raises(SystemExit) as ended:
            train.main(["--help"])
        assert ended.value.code == 0

    assert b"Standard deviation of the initial weights" in written(monkeypatch, encoding, help)


def test_table_on_such_terminals(monkeypatch, supervised_run):
    def measure():
        with pytest.raises(SystemExit) as ended:
            evaluate.main([str(supervised_run), "--images", "30"])
        assert ended.value.code == 0

    assert b"Fr\xe9chet" in written(monkeypatch, "latin-1", measure)


def test_nobody_reads_any_more(monkeypatch):
    """As in ``| head -1``: the work goes on, and nothing is left to fail at the end."""
    read, write = os.pipe()
    with monkeypatch.context() as patch, open(write, "w") as pipe:
        patch.setattr(sys, "stdout", pipe)
        say("first")
        assert os.read(read, 99) == b"first\n"
        os.close(read)
        say("second")
        say("third")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_the_disk_is_full(monkeypatch):
    with monkeypatch.context() as patch, open("/dev/full", "w") as full:
        patch.setattr(sys, "stdout", full)
        with pytest.raises(InputError, match="the output cannot be written .*No space left"):
            say("text")


def test_no_stdout(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        say("text")


def test_printable():
    assert printable("a\r\n\tb\x1b[2J\udce9é猫") == "a\\r\\n\\tb\\x1b[2J\\xe9é猫"
    for name in HOSTILE:
        printable(name).encode()


def test_shortened():
    assert (shortened("abcde", 5), shortened("abcdef", 5), shortened("abc def", 5)) == (
        "abcde",
        "abcd…",
        "abc…",
    )
