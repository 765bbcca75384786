"""Does for runs what must go on after the command line has exited. `reconcile` decides; all else looks and acts."""
