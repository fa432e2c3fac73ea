# JupyterLab with the demo: docker build -t chexnet_nb . && docker run --rm -p 8888:8888 chexnet_nb
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends git make fonts-dejavu-core && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home researcher
USER researcher
WORKDIR /home/researcher/chexnet_nb
COPY --chown=researcher . .
# The CPU build of PyTorch; for a GPU: docker build --build-arg TORCH_INDEX=https://pypi.org/simple .
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv .venv && .venv/bin/pip install --no-cache-dir torch torchvision -c constraints.txt --index-url $TORCH_INDEX \
    && make install
ENV PATH=/home/researcher/chexnet_nb/.venv/bin:$PATH
EXPOSE 8888
CMD ["jupyter", "lab", "nbs", "--ip=0.0.0.0", "--no-browser"]
