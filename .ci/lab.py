"""Any Jupyter of this checkout's .venv (`make hooks` links this file there): its notebooks are cleaned as they are saved; its
experiments write where the command writes. Notebooks elsewhere are left as they are."""
import warnings
from pathlib import Path

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from nbdev.clean import clean_nb

ROOT = Path(__file__).resolve().parents[1]


class Kernels(AsyncMappingKernelManager):
    "Kernels that work in the checkout's root where a notebook is one of its experiments, else beside their notebook."
    def cwd_for_path(self, path, **options):
        folder = super().cwd_for_path(path, **options)
        return str(ROOT) if Path(folder).resolve() == ROOT/"nbs/experiments" else folder


def kept(cell, output):
    "Whether an output is committed: it says something without its kernel, and is not about the machine (tag remove-output)."
    if "remove-output" in cell["metadata"].get("tags", []): return False
    return output.get("name") != "stderr" and "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


def clean(model, path, contents_manager, **_):
    "A notebook of the checkout as it is committed: no run's numbers, no state of widgets, no progress bars."
    file = Path(contents_manager.root_dir, path.strip("/")).resolve()
    if model["type"] != "notebook" or not file.is_relative_to(ROOT): return
    nb = model["content"]
    clean_nb(nb, allowed_cell_metadata_keys=["tags"])
    nb["metadata"].pop("widgets", None)
    for cell in nb["cells"]:
        if "outputs" in cell: cell["outputs"] = [o for o in cell["outputs"] if kept(cell, o)]


warnings.filterwarnings("ignore", "Overriding existing pre_save_hook") # This file is read once for the server, once for the lab
c = get_config() # noqa: F821
c.ServerApp.kernel_manager_class = Kernels
c.ContentsManager.pre_save_hook = clean
c.ConnectionFileMixin.transport = "ipc" # Sockets in the file system rather than ports
