"""torch's own fused optimizers: one call for all parameters.

They are called as functions: torch's ``Optimizer`` class loads the whole compiler at its first
step, which takes a second and 70 MiB. Their formulas are those of
:class:`distlab.backends.base.Program` as they stand.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from distlab.backends.base import Program

CALLED = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
"""Optimizers, as sentences call them."""


class Fused:
    """A program's optimizer over some parameters, on moments that are held here or given.

    Parameters
    ----------
    parameters:
        What it updates, in place.
    program:
        Which optimizer, and its constants.
    moments:
        One list for each of ``program.moments``, in the order of the parameters; zeros by default.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        program: Program,
        moments: Sequence[list[Tensor]] | None = None,
    ) -> None:
        self.program = program
        self.called = CALLED[program.rule]
        self._parameters = parameters
        if moments is None:
            zeros = [torch.zeros_like(p, requires_grad=False) for p in parameters]
            moments = [[zero.clone() for zero in zeros] for _ in program.moments]
        self.moments = moments
        self._steps = [torch.zeros((), device=p.device) for p in parameters]

    @property
    def state(self) -> list[Tensor]:
        """All that a step changes: parameters, moments, and how many steps were taken.

        Each stays at its place on its device, counts too, and a step waits for nothing there: it
        can be recorded as a CUDA graph (torch's ``capturable`` makes a fused one no different).
        """
        return [*self._parameters, *(one for held in self.moments for one in held), *self._steps]

    @property
    def steps_taken(self) -> int:
        """How many steps were taken."""
        return int(self._steps[0])

    @steps_taken.setter
    def steps_taken(self, steps: int) -> None:
        for step in self._steps:
            step.fill_(steps)

    @torch.no_grad()
    def step(self, slopes: list[Tensor], rate: float) -> None:
        """Take one step by these gradients, one for each parameter, at a learning rate."""
        program = self.program
        if program.rule == "sgd":
            self._descend(slopes, rate)
            return
        first, second = self.moments
        adam(
            self._parameters,
            slopes,
            first,
            second,
            [],
            self._steps,
            fused=True,
            amsgrad=False,
            beta1=program.beta1,
            beta2=program.beta2,
            lr=rate,
            weight_decay=program.weight_decay,
            eps=program.epsilon,
            maximize=False,
            decoupled_weight_decay=program.rule == "adamw",
        )

    def _descend(self, slopes: list[Tensor], rate: float) -> None:
        program = self.program
        velocities: list[Tensor | None] = [None] * len(slopes)
        if self.moments:
            velocities = list(self.moments[0])
        sgd(
            self._parameters,
            slopes,
            velocities,
            fused=True,
            weight_decay=program.weight_decay,
            momentum=program.momentum,
            lr=rate,
            dampening=0.0,
            nesterov=program.nesterov,
            maximize=False,
        )
        self._steps[0].add_(1)
