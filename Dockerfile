# The image of the head, the workers and the coordinator: all nodes of a cluster must have the same
# versions, so there is one. docker-compose.yml builds it; `docker run hpsearch:0.1.0` is `hpsearch`.
FROM python:3.11.14-slim-bookworm

# pip reads this one by itself. By default PyTorch comes with CUDA, several gigabytes; a machine
# without GPUs may name PyTorch's index of CPU wheels here. The version is the same.
ARG PIP_EXTRA_INDEX_URL=""

WORKDIR /opt/hpsearch

# What hpsearch needs, in a layer that a change of its own code leaves as it is.
COPY constraints.txt pyproject.toml README.md ./
RUN pip install --no-cache-dir --constraint constraints.txt .

COPY hpsearch hpsearch
COPY workers workers
COPY search_spaces search_spaces
RUN pip install --no-cache-dir --no-deps --constraint constraints.txt .

COPY deploy/one_gpu.sh /usr/local/bin/one_gpu

# A volume that is mounted for the first time gets the owner of the folder beneath it.
RUN useradd --create-home --uid 10001 hpsearch \
    && install --directory --owner hpsearch --group hpsearch \
        /var/lib/hpsearch/checkpoints /var/lib/hpsearch/dashboards /var/lib/hpsearch/gpus
USER hpsearch
WORKDIR /home/hpsearch

ENTRYPOINT ["hpsearch"]
CMD ["--help"]
