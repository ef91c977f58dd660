# The stack on a robot's computer, on the official image of ROS 2: Kilted, or with --build-arg ROS_DISTRO=jazzy Jazzy.
#   docker build -f docker/robot.Dockerfile -t defi-robot .
#   docker run --rm --network host --ipc host defi-robot          # a simulated Franka does what it is told
# On a machine with an NVIDIA GPU: --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu128
ARG ROS_DISTRO=kilted
FROM ros:${ROS_DISTRO}-ros-base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# Compilers for the messages that this ROS lacks, what rendering and cameras load, and the messages that it has.
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

# Nobody needs to be root to move an arm: cameras, serial lines and joysticks come by groups, see docker/compose.yaml.
COPY --chown=1000:1000 . /defi
RUN chown 1000:1000 /defi
USER 1000:1000
WORKDIR /defi

ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN . "/opt/ros/${ROS_DISTRO}/setup.bash" \
    && make setup PYTHON=/usr/bin/python3 TORCH_INDEX_URL="${TORCH_INDEX_URL}" \
    && .venv/bin/python -m pip install --no-cache-dir -r requirements/realsense.txt \
    && rm -rf ~/.cache/pip

ENV PATH=/defi/.venv/bin:${PATH}
# /ros_entrypoint.sh of the base image sources ROS 2.
ENTRYPOINT ["/ros_entrypoint.sh"]
CMD ["defi", "up", "franka", "--demo", "--headless"]
