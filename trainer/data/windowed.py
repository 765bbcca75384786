"""Training rows that are worked on in windows: a stream for each side, so that the rows of a batch have one shape."""

from trainer.data.feed import Lane
from trainer.data.store import Split
from trainer.data.stream import Rows, Stream
from trainer.data.window import slots_of
from trainer.dist import World
from trmkit.errors import SpecError
from trmkit.spec.model import RecursiveCore
from trmkit.spec.run import RunFile


class Windowed:
    """A stream of training rows for every side of a window, each with a fixed share of the slots; see `Feed`."""

    def __init__(self, split: Split, run: RunFile, world: World, *, on_device: bool) -> None:
        """Open the streams. SpecError: the model sees whole canvases only, or the slots cannot be shared out."""
        model, train = run.model, run.train
        if not isinstance(model, RecursiveCore) or model.mlp_t:
            raise SpecError(
                f"data.window: {model.title} works on all of a canvas",
                next="--set data.window=full, or the family trm or hybrid with model.mlp_t=false",
            )
        rows, found = Rows(split, world.device, on_device=on_device), slots_of(split.metadata.windows, train.batch_size)
        for side, slots in found.items():
            if slots % (world.size * train.accumulate):
                raise SpecError(
                    f"data.window: of a batch of {train.batch_size} rows {slots} are of side {side}, which cannot be"
                    f" divided over {world.size} processes in {train.accumulate} parts",
                    next="a power of two as batch size, and as both of these; or --set data.window=full",
                )
        self._streams = {
            side: Stream(split, run.seed, slots, world, rows=rows, side=side) for side, slots in found.items()
        }
        self.lanes = [Lane(stream, found[side], side) for side, stream in self._streams.items()]

    def state(self) -> dict[str, int]:
        """Return the places in the streams."""
        return {
            f"{name}_{side}": value for side, stream in self._streams.items() for name, value in stream.state().items()
        }

    def restore(self, state: dict[str, int]) -> None:
        """Go on from places that `state` returned. ValueError: there are no such places."""
        if set(state) != set(self.state()):
            raise ValueError(f"the place in the data is {state}, with other windows")
        for side, stream in self._streams.items():
            stream.restore({name: state[f"{name}_{side}"] for name in ("epoch", "offset")})

    def numbers(self) -> dict[str, float]:
        """Return nothing: places in streams say nothing to people."""
        return {}

    def close(self) -> None:
        """Do nothing: nothing works in the background."""
