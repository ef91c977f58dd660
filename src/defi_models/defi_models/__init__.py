"""DeFI models: contract, transforms, networks, data, training, inference and evaluation. Knows nothing of ROS."""
