"""The command, and a notebook's kernel, in processes of their own that start at once: forked from one with everything imported.

They can be killed, and what they leave is on disk alone, as with any other process; that cold ones start is tested by
`test_wheel`, `test_in_step` and wherever `subprocess` stands.
"""
import asyncio
import gc
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from functools import partial
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1") # These networks are too small for more
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([
    "warm", "chexnet_nb.report.experiment", "chexnet_nb.report.figures", "chexnet_nb.training.ensemble", "chexnet_nb.cam.draw",
    "ipykernel.kernelapp", "ipykernel.ipkernel", "seaborn", "sklearn.linear_model", "tqdm.notebook", "nbconvert"])


def share_server():
    "One fork server, with all that it imports, for this process and those that it starts; where it is, they read in a variable."
    if sys.version_info >= (3, 14): return # There a server asks for a key: each process has its own
    if "WARM_SERVER" in os.environ: return join_server(os.environ["WARM_SERVER"])
    forkserver.ensure_running()
    os.environ["WARM_SERVER"] = forkserver._forkserver._forkserver_address


def join_server(address):
    "Fork from another process's server instead of importing all once more."
    server = forkserver.ForkServer()
    server.ensure_running = resource_tracker.ensure_running
    server._forkserver_address, server._forkserver_alive_fd = address, os.open(os.devnull, os.O_WRONLY)
    forkserver.connect_to_new_process = server.connect_to_new_process


class Forked:
    "A forked `process`, asked and ended like a `subprocess.Popen`."
    @property
    def pid(self): return self.process.pid

    @property
    def returncode(self): return self.process.exitcode

    def poll(self): return self.returncode

    def kill(self): self.process.kill()

    def send_signal(self, number): os.kill(self.pid, number)


class Kernel(Forked):
    "A notebook's kernel, in place of the process that Jupyter would have started."
    stdin = stdout = stderr = None

    def __init__(self, context, command, *, env, cwd=None, **_):
        self.process = context.Process(target=be_kernel, args=(command[command.index("-m")+2:], env, cwd))
        self.process.start()
        while self.poll() is None and os.getpgid(self.pid) != self.pid: time.sleep(.001) # Signals go to its group

    def wait(self):
        self.process.join()
        return self.returncode

    def terminate(self): self.process.terminate()


def be_kernel(argv, env, cwd):
    "Be the kernel, in a group of its own."
    os.setpgid(0, 0)
    os.environ.update(env, JPY_PARENT_PID=str(os.getppid()))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1) # Its banner is not the tests'
    os.chdir(cwd or ".")
    gc.freeze() # What the process held that this one is forked from is not this one's to close
    asyncio.set_event_loop(asyncio.new_event_loop())
    from ipykernel.kernelapp import IPKernelApp
    app = IPKernelApp.instance()
    app.initialize(argv)
    app.start()


def fork_kernels(context=CONTEXT, server=None):
    "From now on this process starts kernels that are forked from one with everything imported, or from the server at an address."
    if server: join_server(server)
    from jupyter_client.provisioning import local_provisioner
    local_provisioner.launch_kernel = partial(Kernel, context)


def work(argv, cwd, out, err, first, room):
    "Be the command: a session of its own, its output in files."
    os.setsid()
    os.chdir(cwd)
    for number, file in ((1, out), (2, err)): os.dup2(os.open(file, os.O_WRONLY|os.O_CREAT|os.O_TRUNC), number)
    sys.stdin, sys.stdout, sys.stderr = open(os.devnull), open(1, "w", closefd=False), open(2, "w", closefd=False)
    sys.argv = ["chexnet", *argv]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import warnings
    warnings.simplefilter("ignore")
    fork_kernels(multiprocessing.get_context("fork"))
    if room: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    exec(first, {})
    from chexnet_nb.report.cli import main
    sys.exit(main(argv))


class Started(Forked):
    "A command that runs; `first` is code that runs before it, `room` a file's limit in bytes."
    def __init__(self, argv, cwd=".", *, first="", room=None):
        self.folder = tempfile.TemporaryDirectory(prefix="warm-")
        self.files = [Path(self.folder.name, name) for name in ("out", "err")]
        self.process = CONTEXT.Process(target=work, args=(list(map(str, argv)), str(cwd), *self.files, first, room))
        self.process.start()

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
