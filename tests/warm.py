"""The command in a process of its own that starts at once: forked from one that has imported the package already.

It can be killed, and what it leaves is on disk alone, as with any other process; that a cold one starts is tested by
`test_wheel`, `test_in_step` and wherever `subprocess` stands.
"""
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1") # These networks are too small for more
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["warm", "chexnet_nb.report.experiment", "chexnet_nb.training.ensemble", "chexnet_nb.cam.draw"])


def work(argv, cwd, out, err):
    "Be the command: a session of its own, its output in files."
    os.setsid()
    os.chdir(cwd)
    for number, file in ((1, out), (2, err)): os.dup2(os.open(file, os.O_WRONLY|os.O_CREAT|os.O_TRUNC), number)
    sys.stdin, sys.stdout, sys.stderr = open(os.devnull), open(1, "w", closefd=False), open(2, "w", closefd=False)
    sys.argv = ["chexnet", *argv]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import warnings
    warnings.simplefilter("ignore")
    from chexnet_nb.report.cli import main
    sys.exit(main(argv))


class Started:
    "A command that runs, asked and ended like a `subprocess.Popen`."
    def __init__(self, argv, cwd="."):
        self.folder = tempfile.TemporaryDirectory(prefix="warm-")
        self.files = [Path(self.folder.name, name) for name in ("out", "err")]
        self.process = CONTEXT.Process(target=work, args=(list(map(str, argv)), str(cwd), *self.files))
        self.process.start()

    @property
    def returncode(self): return self.process.exitcode

    def poll(self): return self.process.exitcode

    def kill(self): self.process.kill()

    def communicate(self, timeout=600):
        "What it said on stdout and stderr, once it has ended."
        self.process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise TimeoutError(f"not done in {timeout} s: {self.files[1].read_text()[-2000:]}")
        return [f.read_text() if f.exists() else "" for f in self.files]


def chexnet(*argv, cwd=".", timeout=600):
    "Run a command to its end: exit code, stdout, stderr."
    process = Started(argv, cwd)
    out, err = process.communicate(timeout)
    return process.returncode, out, err
