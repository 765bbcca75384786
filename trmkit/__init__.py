"""What a laptop, a training pod and the controller share: the run file, where a run lives, and the errors."""

__version__ = "0.1.0"
