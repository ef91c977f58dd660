"""Where people see how a stage goes: a bar or lines on the terminal, TensorBoard curves, and pictures as PNG.

<run>/curves/<stage>/             events for `tensorboard --logdir <run>/curves`
<run>/pictures/<stage>/<name>_<step>.png
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from defi_models.bar import Bar

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

REPORT_EVERY_STEPS = 50

Picture = npt.NDArray[np.uint8]
"""RGB, (H, W, 3)."""
Figures = Mapping[str, float]


def mean_figures(rows: Collection[Figures]) -> dict[str, float]:
    """Each figure of the last row, averaged over the rows in which it is a number; without those that never are."""
    last = list(rows)[-1:]
    found = {key: [row[key] for row in rows if not math.isnan(row.get(key, math.nan))] for row in last for key in row}
    return {key: float(np.mean(values)) for key, values in found.items() if values}


class Watch:
    """How one stage is shown. In processes other than the first, and with nothing given, it shows nothing.

    Args:
        lines: Told one line at a time.
        bar: Shown in place of the lines about steps, where the output is a terminal.
        run: Folder of the run, for curves and pictures.
        stage: Name of the stage.
        pictures: Draws by name what the model makes of the same data; called a few times a stage.
    """

    def __init__(
        self,
        lines: Callable[[str], None] | None = None,
        bar: Bar | None = None,
        run: Path | None = None,
        stage: str = "",
        pictures: Callable[[], Mapping[str, Picture]] | None = None,
    ) -> None:
        self._lines, self._bar, self._run, self._stage, self._pictures = lines, bar, run, stage, pictures
        self._curves: SummaryWriter | None = None
        self._recent: deque[Figures] = deque(maxlen=REPORT_EVERY_STEPS)
        self._first, self._steps, self._started = 0, 0, 0.0

    def begin(self, first: int, steps: int) -> None:
        """Begins at step `first` of `steps`; curves drawn beyond it before a kill are dropped."""
        self._first, self._steps, self._started = first, steps, time.monotonic()
        if self._run is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._curves = SummaryWriter(str(self._run / "curves" / self._stage), purge_step=first or None)

    def tell(self, line: str) -> None:
        """Shows a line, also beside a bar."""
        if self._lines is not None:
            self._lines(line)

    def step(self, done: int, figures: Figures) -> None:
        """`done` steps are done; these are the figures of the last."""
        self._recent.append(figures)
        reports = done % REPORT_EVERY_STEPS == 0 or done == self._steps
        if self._bar is not None:
            self._bar(done, self._steps, self._text())
        elif reports and self._lines is not None:
            seconds = (time.monotonic() - self._started) / (done - self._first)
            left = (self._steps - done) * seconds / 60
            self._lines(f"step {done}/{self._steps}  {self._text()}  {seconds:.3f} s/step  {left:.1f} min left")
        if reports and self._curves is not None:
            for name, value in mean_figures(self._recent).items():
                self._curves.add_scalar(name, value, done)

    def draw(self, done: int) -> None:
        """Draws the pictures after `done` steps."""
        if self._curves is None or self._run is None or self._pictures is None:
            return
        folder = self._run / "pictures" / self._stage
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in self._pictures().items():
            self._curves.add_image(name, picture, done, dataformats="HWC")
            cv2.imwrite(str(folder / f"{name}_{done:07d}.png"), picture[..., ::-1])

    def end(self) -> None:
        """Writes out what is still in memory."""
        if self._curves is not None:
            self._curves.close()
            self._curves = None

    def _text(self) -> str:
        return "  ".join(f"{name} {value:.4f}" for name, value in mean_figures(self._recent).items())
