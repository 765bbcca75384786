"""Requests to an API server: what `trmctl.kube` is made of."""
