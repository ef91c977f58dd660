"""Makes `tiny` and the contract of policies importable for the tests of this folder, and keeps small tensors on one thread: more only wait for each other."""

import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "inference")]
torch.set_num_threads(1)
