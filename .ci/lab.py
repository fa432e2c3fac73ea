"""Any Jupyter of this checkout's .venv (`make hooks` links this file there): its notebooks are cleaned as they are saved, and
opening one does not change it; its experiments write where the command writes. Notebooks elsewhere are left as they are.
JupyterLab asks nothing of other hosts."""
import warnings
from pathlib import Path
from uuid import uuid4

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelspec import KERNEL_NAME, get_kernel_dict
from jupyter_core.paths import jupyter_runtime_dir
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from nbdev.clean import clean_nb

ROOT = Path(__file__).resolve().parents[1]


class Kernels(AsyncMappingKernelManager):
    "Kernels that work in the checkout's root where a notebook is one of its experiments, else beside their notebook."
    def cwd_for_path(self, path, **options):
        folder = super().cwd_for_path(path, **options)
        return str(ROOT) if Path(folder).resolve() == ROOT/"nbs/experiments" else folder


def ours(path, contents_manager):
    "Whether a path of the server lies in the checkout."
    return Path(contents_manager.root_dir, path.strip("/")).resolve().is_relative_to(ROOT)


class Contents(AsyncLargeFileManager):
    "Notebooks of the checkout say when they are read what their kernel will say of itself, so that opening one changes nothing."
    async def get(self, path, *args, **options):
        model, kernel = await super().get(path, *args, **options), get_kernel_dict()
        if model["type"] == "notebook" and model["content"] and ours(path, self):
            spec = dict(name=KERNEL_NAME, language=kernel["language"], display_name=kernel["display_name"])
            model["content"]["metadata"] |= dict(kernelspec=spec, language_info=dict(IPythonKernel.language_info))
        return model


def kept(cell, output):
    "Whether an output is committed: it says something without its kernel, and is not about the machine (tag remove-output)."
    if "remove-output" in cell["metadata"].get("tags", []): return False
    return output.get("name") != "stderr" and "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


def clean(model, path, contents_manager, **_):
    "A notebook of the checkout as it is committed: no run's numbers, no state of widgets, no progress bars."
    if model["type"] != "notebook" or not ours(path, contents_manager): return
    nb = model["content"]
    clean_nb(nb, allowed_cell_metadata_keys=["tags"])
    nb["metadata"].pop("widgets", None)
    for cell in nb["cells"]:
        if "outputs" in cell: cell["outputs"] = [o for o in cell["outputs"] if kept(cell, o)]


warnings.filterwarnings("ignore", "Overriding existing pre_save_hook") # This file is read once for the server, once for the lab
c = get_config() # noqa: F821
c.ServerApp.kernel_manager_class = Kernels
c.ServerApp.contents_manager_class = Contents
c.ContentsManager.pre_save_hook = clean
if len(f"{jupyter_runtime_dir()}/kernel-{uuid4()}-ipc-5".encode()) <= 107: # The longest path that a socket can have
    c.ConnectionFileMixin.transport = "ipc" # Sockets in the file system rather than ports
c.LabApp.app_settings_dir = str(ROOT/".ci") # Its overrides.json: no question whether to fetch news
