# The service and its workers. `docker build -t filigrana .` brings the embedded model; EXTRAS chooses what else.
# BASE: a Debian with Python 3.11 or 3.12 as `python`, for who keeps base images of their own.
ARG BASE=python:3.12-slim
FROM ${BASE} AS build
ARG EXTRAS=generate,serve,postgres,telemetry,publish
# Without a card, torch comes from PyPI's CPU index: gigabytes less.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY . .
RUN python -m venv /opt/filigrana \
 && /opt/filigrana/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt ".[${EXTRAS}]"

FROM ${BASE}
# What OpenCV's wheel and invisible-watermark want of the system.
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin filigrana \
 && install -d -o filigrana -g filigrana -m 700 /data
COPY --from=build /opt/filigrana /opt/filigrana
ENV PATH=/opt/filigrana/bin:$PATH FILIGRANA_DATA_DIR=/data FILIGRANA_LOG_FORMAT=json PYTHONDONTWRITEBYTECODE=1
USER filigrana
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
# Listens inside the container's own network; what faces the internet stands before it and ends TLS (docs/service.md).
ENTRYPOINT ["filigrana"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
