# The stack on an NVIDIA Jetson with JetPack 7 (Ubuntu 24.04, CUDA 13): the official ROS 2 image for arm64, and torch with
# the CUDA libraries in its wheels. Build it on the Jetson:
#   docker build -f docker/jetson.Dockerfile -t defi-jetson .
#   docker run --rm --runtime nvidia --network host --ipc host defi-jetson
# JetPack 6 has Ubuntu 22.04 and CUDA 12.6; its GPU is not served by these wheels.
ARG ROS_DISTRO=kilted
FROM ros:${ROS_DISTRO}-ros-base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        cmake g++ make python3-dev python3-venv \
        libegl1 libegl-mesa0 libgl1 libosmesa6 libusb-1.0-0 v4l-utils \
        "ros-${ROS_DISTRO}-control-msgs" \
        "ros-${ROS_DISTRO}-controller-manager-msgs" \
        "ros-${ROS_DISTRO}-moveit-msgs" \
        "ros-${ROS_DISTRO}-rmw-cyclonedds-cpp" \
        "ros-${ROS_DISTRO}-tf2-msgs" \
        "ros-${ROS_DISTRO}-ur-dashboard-msgs" \
    && rm -rf /var/lib/apt/lists/*

COPY --chown=1000:1000 . /defi
RUN chown 1000:1000 /defi
USER 1000:1000
WORKDIR /defi

ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cu130
RUN . "/opt/ros/${ROS_DISTRO}/setup.bash" \
    && make setup PYTHON=/usr/bin/python3 TORCH_INDEX_URL="${TORCH_INDEX_URL}" \
    && .venv/bin/python -m pip install --no-cache-dir -r requirements/realsense.txt \
    && rm -rf ~/.cache/pip

ENV PATH=/defi/.venv/bin:${PATH} \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics,video
ENTRYPOINT ["/ros_entrypoint.sh"]
CMD ["defi", "up", "franka", "--demo", "--headless"]
