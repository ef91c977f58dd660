# Training and conversion of data, without ROS: models and simulator on a plain Python. torch brings CUDA in its wheels,
# the host brings the driver.
#   docker build -f docker/train.Dockerfile -t defi-train .
#   docker run --rm --gpus all --ipc host -v "$PWD/data:/data" -v "$PWD/runs:/runs" defi-train train --help
FROM python:3.11-slim-bookworm

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libegl1 libgl1 libglib2.0-0 libosmesa6 \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 defi
WORKDIR /defi
COPY requirements/runtime.txt requirements/runtime.txt
RUN pip install --no-cache-dir -r requirements/runtime.txt

COPY src/defi_models src/defi_models
COPY src/defi_sim src/defi_sim
RUN pip install --no-cache-dir --no-deps ./src/defi_models ./src/defi_sim \
    && mkdir -p /data /runs && chown defi:defi /data /runs

USER 1000:1000
WORKDIR /runs
ENV MUJOCO_GL=egl \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics
ENTRYPOINT ["defi"]
CMD ["--help"]
