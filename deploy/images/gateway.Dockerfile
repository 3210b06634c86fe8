# syntax=docker/dockerfile:1.7
# Gateways and controllers: no engine, no weights, no compiler.
#   docker build -f deploy/images/gateway.Dockerfile -t springtide/gateway:0.1.0 .

FROM python:3.12.12-slim-bookworm AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/springtide \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /source
COPY pyproject.toml uv.lock hatch_build.py README.md LICENSE NOTICE ./
# What others made first: this layer stays while only our own code changes.
RUN uv sync --frozen --no-dev --no-install-project --extra kubernetes --extra tracing
COPY web web
COPY src src
# Builds the web page too (Node comes as a package), and leaves nothing of it behind.
RUN uv sync --frozen --no-dev --no-editable --extra kubernetes --extra tracing

FROM python:3.12.12-slim-bookworm
# tini is process 1: it passes signals on and buries what is left behind.
# hadolint ignore=DL3008  # the release is pinned by the base; its archive keeps no older packages to pin to
RUN apt-get update \
    && apt-get install --no-install-recommends --yes tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 springtide \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/springtide --create-home --shell /usr/sbin/nologin springtide
COPY --from=build /opt/springtide /opt/springtide
ENV PATH=/opt/springtide/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/springtide \
    SPRINGTIDE_SERVER__DATA_DIR=/var/lib/springtide \
    SPRINGTIDE_SERVER__HOST=0.0.0.0 \
    SPRINGTIDE_SERVER__PORT=8321
USER 10001:10001
WORKDIR /var/lib/springtide
EXPOSE 8321
# Kubernetes asks by itself; this is for who runs the image elsewhere.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8321/healthz', timeout=4)"]
ENTRYPOINT ["tini", "--", "springtide"]
CMD ["gateway"]
