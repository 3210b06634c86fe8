# syntax=docker/dockerfile:1.7
# Workers, on a CUDA runtime; `--target cpu` for machines without a GPU. Weights come at start, from a share, a bucket or
# the registries (`springtide models stage`): the image is the same for all models.
#   docker build -f deploy/images/worker.Dockerfile -t springtide/worker:0.1.0 .

FROM python:3.12.12-slim-bookworm AS build-cpu
ENV UV_PROJECT_ENVIRONMENT=/opt/springtide \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    SPRINGTIDE_WITHOUT_WEB=1
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /source
COPY pyproject.toml uv.lock hatch_build.py README.md LICENSE NOTICE ./
RUN uv sync --frozen --no-dev --no-install-project --extra engines --extra tracing
COPY src src
RUN uv sync --frozen --no-dev --no-editable --extra engines --extra tracing

FROM python:3.12.12-slim-bookworm AS cpu
# hadolint ignore=DL3008  # the release is pinned by the base; its archive keeps no older packages to pin to
RUN apt-get update \
    && apt-get install --no-install-recommends --yes tini libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 springtide \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/springtide --create-home --shell /usr/sbin/nologin springtide \
    && install --directory --owner 10001 --group 10001 /weights
COPY --from=build-cpu /opt/springtide /opt/springtide
ENV PATH=/opt/springtide/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/springtide \
    SPRINGTIDE_SERVER__DATA_DIR=/var/lib/springtide \
    SPRINGTIDE_SERVER__WEIGHTS_DIR=/weights \
    SPRINGTIDE_TELEMETRY__METRICS_PORT=9321
USER 10001:10001
WORKDIR /var/lib/springtide
EXPOSE 9321
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9321/healthz', timeout=4)"]
ENTRYPOINT ["tini", "--", "springtide"]
CMD ["worker"]

# CUDA 12 with cuDNN 9: what CTranslate2's wheels and ONNX Runtime up to 1.26 are built for (newer ones want CUDA 13).
FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04 AS build-cuda
ENV UV_PROJECT_ENVIRONMENT=/opt/springtide \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON=/usr/bin/python3.12 \
    SPRINGTIDE_WITHOUT_WEB=1
# hadolint ignore=DL3008  # the release is pinned by the base; its archive keeps no older packages to pin to
RUN apt-get update \
    && apt-get install --no-install-recommends --yes python3.12 python3.12-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3.12 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir uv==0.13.9
WORKDIR /source
COPY pyproject.toml uv.lock hatch_build.py README.md LICENSE NOTICE ./
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-install-project --extra engines --extra tracing
COPY src src
# ONNX Runtime for GPUs is a distribution of its own that takes the place of the other.
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-editable --extra engines --extra tracing \
    && /opt/uv/bin/uv pip uninstall --python /opt/springtide/bin/python onnxruntime \
    && /opt/uv/bin/uv pip install --python /opt/springtide/bin/python --no-cache --no-deps onnxruntime-gpu==1.26.0

FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04 AS cuda
# hadolint ignore=DL3008  # the release is pinned by the base; its archive keeps no older packages to pin to
RUN apt-get update \
    && apt-get install --no-install-recommends --yes python3.12 tini libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 springtide \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/springtide --create-home --shell /usr/sbin/nologin springtide \
    && install --directory --owner 10001 --group 10001 /weights
COPY --from=build-cuda /opt/springtide /opt/springtide
ENV PATH=/opt/springtide/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/springtide \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    SPRINGTIDE_SERVER__DATA_DIR=/var/lib/springtide \
    SPRINGTIDE_SERVER__WEIGHTS_DIR=/weights \
    SPRINGTIDE_TELEMETRY__METRICS_PORT=9321
USER 10001:10001
WORKDIR /var/lib/springtide
EXPOSE 9321
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["/opt/springtide/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9321/healthz', timeout=4)"]
ENTRYPOINT ["tini", "--", "springtide"]
CMD ["worker"]
