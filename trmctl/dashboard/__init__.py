"""A page on this machine with the curves of runs as they train: `trmctl dashboard`."""
