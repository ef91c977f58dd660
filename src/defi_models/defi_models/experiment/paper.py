"""What the paper's own modules hold, cost and take, to stand beside ours on the page (defi-model 1.9, 5.1 and 5.2)."""

from __future__ import annotations

from collections.abc import Mapping

# Millions of parameters, counted on the official modules, by the names of `defi inspect`.
PARAMETERS_M: Mapping[str, float] = {
    "GFDM text encoder": 63.4,
    "image encoder": 34.2,
    "GFDM backbone, to its features": 1355.6,
    "GFDM backbone, a whole step of a video": 1524.6 - 1355.6,
    "image decoder": 63.6,
    "inverse text encoders": 109.6 + 63.4,
    "features into the GIDM": 2.56,
    "GIDM": 114.75,
    "video former": 17.71,
    "denoiser, in all": 21.8,
    "DINOv2": 86.0,
    "GIDM with the decoder it learns by": 86.2 + 0.59,
}
# GFLOP of one inference, counted on the official modules.
GIGAFLOP: Mapping[str, float] = {
    "GFDM text encoder": 3.0 / 2,  # counted for one instruction read twice, once a camera
    "image encoder": 545.0,
    "GFDM backbone, to its features": 5749.0,
    "GFDM backbone, a whole step of a video": 9920.0,
    "image decoder": 2 * 12_070.0,  # counted for one camera
    "inverse text encoders": 2.4 + 3.0 / 2,
    "features into the GIDM": 2.6,
    "GIDM": 130.3,
    "video former": 84.0,
    "denoiser, its context": 3.31,
    "denoiser, 10 steps": 7.14,
    "denoiser, in all": 3.31 + 7.14,
}
# Rows of the page that are others together, whose parts the paper's modules divide otherwise.
TOGETHER: Mapping[str, tuple[str, ...]] = {"denoiser, in all": ("denoiser, its context", "denoiser, 10 steps")}
# Ours cost less, or are counted otherwise, on purpose.
REMARKS: Mapping[str, str] = {
    "GIDM": "of the GIDM's last block ours computes the queries alone, which nothing else is read of",
    "denoiser, its context": "ours projects the context for the denoiser's layers here, once a chunk (0.54 GFLOP), and our "
    "count has the fused attention (0.32), which the other overlooked",
    "denoiser, 10 steps": "theirs projects the context for the denoiser's layers in each step",
    "denoiser, in all": "the context is projected once a chunk, not ten times",
}
CHUNK_MS: Mapping[str, float] = {
    "GFDM": 86.1,
    "GIDM": 42.9,
    "decoder": 24.3,
    "chunk": 153.0,
}  # RTX 4090, mean of 5 runs
AVERAGE_LENGTH: Mapping[str, float] = {"both": 4.51, "gfdm_only": 4.16, "gidm_only": 3.28}  # CALVIN (1.6, table 4)
