"JupyterLab in this checkout (`make lab`): notebooks are cleaned as they are saved; experiments write where the command writes."
from pathlib import Path

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from nbdev.clean import clean_nb

ROOT = Path(__file__).resolve().parents[1]


class Kernels(AsyncMappingKernelManager):
    "Kernels that work in the checkout's root where a notebook is an experiment, else beside their notebook."
    def cwd_for_path(self, path, **options):
        return str(ROOT) if "experiments" in Path(path).parts else super().cwd_for_path(path, **options)


def kept(output):
    "Whether an output says something without its kernel."
    return output.get("name") != "stderr" and "application/vnd.jupyter.widget-view+json" not in output.get("data", {})


def clean(model, **place):
    "A notebook as it is committed: no run's numbers, no state of widgets, no progress bars."
    if model["type"] != "notebook": return
    nb = model["content"]
    clean_nb(nb, allowed_cell_metadata_keys=["tags"])
    nb["metadata"].pop("widgets", None)
    for cell in nb["cells"]:
        if "outputs" in cell: cell["outputs"] = [o for o in cell["outputs"] if kept(o)]


c = get_config() # noqa: F821
c.ServerApp.kernel_manager_class = Kernels
c.ContentsManager.pre_save_hook = clean
c.ConnectionFileMixin.transport = "ipc" # Sockets in the file system rather than ports
