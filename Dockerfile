# Two images from one file: `trainer` trains, `trmctl` talks to the cluster and starts no training.
#
#   make image                                    both, for the CPU
#   make image TORCH=cuda BASE=python:3.11-slim-bookworm@sha256:…
#
# Both run as 10001 with a read-only root and no capabilities. What is written goes to /scratch and /tmp, which are volumes.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/ requirements/
RUN python3 -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY trmkit/ trmkit/
COPY trainer/ trainer/
COPY trmctl/ trmctl/
COPY workflows/ workflows/
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation -w /wheels .

FROM packages AS trainer-packages
ARG TORCH=cpu
RUN python3 -m venv /opt/trm \
 && /opt/trm/bin/pip install --require-hashes -r requirements/trainer.txt -r "requirements/torch-${TORCH}.txt" \
 && /opt/trm/bin/pip install --no-deps --no-index /wheels/*.whl \
 && /opt/trm/bin/pip uninstall -q -y pip

FROM packages AS trmctl-packages
RUN python3 -m venv /opt/trm \
 && /opt/trm/bin/pip install --require-hashes -r requirements/trmctl.txt \
 && /opt/trm/bin/pip install --no-deps --no-index /wheels/*.whl \
 && /opt/trm/bin/pip uninstall -q -y pip

FROM ${BASE} AS common
ARG VERSION=0 COMMIT=unknown
LABEL org.opencontainers.image.title="trm" \
      org.opencontainers.image.description="Tiny recursive reasoning models, from a laptop to a cluster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
# The root is read-only, so every cache goes to /tmp; byte code is in the image already.
ENV PATH=/opt/trm/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib TORCHINDUCTOR_CACHE_DIR=/tmp/inductor \
    TRM_COMMIT=${COMMIT}
RUN install -d -o 10001 -g 10001 /scratch
WORKDIR /scratch
VOLUME ["/scratch", "/tmp"]
HEALTHCHECK NONE

FROM common AS trmctl
COPY --from=trmctl-packages /opt/trm /opt/trm
USER 10001:10001
ENTRYPOINT ["trmctl"]
CMD ["--help"]

FROM common AS trainer
COPY --from=trainer-packages /opt/trm /opt/trm
USER 10001:10001
ENTRYPOINT ["python", "-m", "trainer"]
CMD ["--help"]
