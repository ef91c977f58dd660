"""Makes `tiny` importable for the tests of this folder, and keeps small tensors on one thread: more only wait for each other."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
