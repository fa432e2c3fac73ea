# JupyterLab with the demo: docker build -t chexnet_nb . && docker run --rm -p 8888:8888 chexnet_nb
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends git make fonts-dejavu-core && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home researcher
USER researcher
WORKDIR /home/researcher/chexnet_nb
COPY --chown=researcher . .
RUN make install
ENV PATH=/home/researcher/chexnet_nb/.venv/bin:$PATH
EXPOSE 8888
CMD ["jupyter", "lab", "--config=.ci/lab.py", "nbs/welcome.ipynb", "--ip=0.0.0.0", "--no-browser"]
