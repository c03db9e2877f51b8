"""The state of a run between two epochs, from which any other workers can go on.

It is all that the mathematics needs: weights, the optimizer's moments and step. Which samples come
next follows from the epoch and the seed (:mod:`distlab.data.order`), and learning rates from the
step. Arrays are in the canonical layout of :mod:`distlab.backends.base`, so that a state is of no
framework and no number of workers.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from distlab.backends.base import MOMENTS, Backend, OptimizerState
from distlab.checkpoints.archive import DamagedError, packed, unpacked
from distlab.models.spec import ModelSpec
from distlab.models.weights import Weights

VERSION = 1
WEIGHTS = "weights"


@dataclass(frozen=True)
class State:
    """A run's state after some epochs, equal on all its ranks.

    Attributes
    ----------
    epoch:
        How many epochs are done, which is the number of the next.
    step:
        Steps that the optimizer has taken.
    arrays:
        Arrays by name for each kind of them: ``weights``, and the moments that the optimizer has:
        ``first_moment``, ``second_moment``.
    seconds:
        Seconds of training until there on rank 0, where a run ends after so many; else 0.
    """

    epoch: int
    step: int
    arrays: Mapping[str, Weights] = field(repr=False)
    seconds: float = 0.0

    @classmethod
    def of(cls, backend: Backend, epoch: int, seconds: float = 0.0) -> "State":
        """A backend's state, read back from its framework, when so many epochs are done."""
        state = backend.optimizer_state()
        moments = {moment: getattr(state, moment) for moment in MOMENTS}
        return cls(epoch, state.step, {WEIGHTS: backend.weights(), **moments}, seconds)

    def restore(self, backend: Backend) -> None:
        """Set a backend's model and optimizer to it, bit for bit."""
        backend.set_weights(self.arrays[WEIGHTS])
        backend.set_optimizer_state(
            OptimizerState(self.step, *(self.arrays[moment] for moment in MOMENTS))
        )

    def encoded(self) -> bytes:
        """It as bytes (:mod:`distlab.checkpoints.archive`): a checkpoint."""
        arrays = {
            f"{kind}/{name}": array
            for kind, named in self.arrays.items()
            for name, array in named.items()
        }
        about = {"version": VERSION, "epoch": self.epoch, "step": self.step}
        return packed(about | ({"seconds": self.seconds} if self.seconds else {}), arrays)

    @classmethod
    def decoded(
        cls,
        data: bytes,
        spec: ModelSpec | None = None,
        moments: Collection[str] = MOMENTS,
    ) -> "State":
        """The state that was encoded.

        Parameters
        ----------
        data:
            The bytes.
        spec:
            The model that it must be of; None: it is not looked at.
        moments:
            Which moments the optimizer has (:attr:`distlab.backends.base.Program.moments`).

        Raises
        ------
        DamagedError
            If the bytes are not whole, or not of this model.
        """
        about, arrays = unpacked(data)
        if about.get("version") != VERSION:
            raise DamagedError(
                f"version {about.get('version')} of a state, which is not known here"
            )
        kinds: dict[str, Weights] = {kind: {} for kind in (WEIGHTS, *MOMENTS)}
        for place, array in arrays.items():
            kind, _, name = place.partition("/")
            kinds.setdefault(kind, {})[name] = array
        if spec is not None:
            # There are moments of parameters, and none of running statistics.
            expected = {WEIGHTS: spec.arrays, **dict.fromkeys(moments, spec.parameters)}
            for kind in (WEIGHTS, *MOMENTS):
                shapes = expected.get(kind, {})
                found = {name: array.shape for name, array in kinds[kind].items()}
                for name in {**shapes, **found}:
                    if found.get(name) != shapes.get(name):
                        raise DamagedError(f"{kind} {name} is not that of model {spec.name}")
        seconds = float(about.get("seconds", 0.0))
        return cls(int(about["epoch"]), int(about["step"]), kinds, seconds)
