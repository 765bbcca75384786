"""The command line `trmctl`. It runs on a laptop and in the controller's pod; it knows neither torch nor trainer."""
