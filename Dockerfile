# One image; the service is the command: hookline ingress | router | executor | console | topics | up.
# Builds with BuildKit and with the classic builder.
#
# A mirror of the package index is named by the environment of the build, never here:
#   docker build --build-arg PIP_INDEX_URL=… .
ARG PYTHON=python:3.11-slim-bookworm

# 1. Every package as a wheel, each checked against the lock's hashes; Hookline's own.
FROM ${PYTHON} AS wheels
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /build
WORKDIR /source
COPY requirements.lock ./
RUN ["/build/bin/pip", "wheel", "--require-hashes", "-r", "requirements.lock", "-w", "/wheels"]
# What the wheel is built with comes out of the lock as well.
RUN ["/build/bin/pip", "install", "--no-index", "--find-links", "/wheels", "hatchling", "grpcio-tools", "mypy-protobuf"]
COPY . ./
RUN ["/build/bin/pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", "/wheels", "."]

# 2. What runs and no more: without an index, only what the lock let in can be found.
FROM ${PYTHON} AS environment
COPY --from=wheels /wheels /wheels
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN ["python", "-m", "venv", "--without-pip", "/opt/hookline"]
RUN ["pip", "--python", "/opt/hookline/bin/python", "install", "--no-index", "--find-links", "/wheels", "hookline"]
# Where `hookline up` keeps its log, and what a volume mounted there takes its owner from.
WORKDIR /var/lib/hookline
RUN ["chown", "10001:10001", "/var/lib/hookline"]

# 3. No build tools, no wheels, no root.
FROM ${PYTHON}
COPY --from=environment /opt/hookline /opt/hookline
COPY --from=environment --chown=10001:10001 /var/lib/hookline /var/lib/hookline
ENV PATH=/opt/hookline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/hookline \
    HOOKLINE_HTTP=0.0.0.0:8080 \
    HOOKLINE_GRPC=0.0.0.0:50052 \
    HOOKLINE_ADMIN=0.0.0.0:8081
WORKDIR /var/lib/hookline
USER 10001:10001
EXPOSE 8080 8081 50052
ENTRYPOINT ["hookline"]
CMD ["--help"]
