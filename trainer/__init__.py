"""What runs in the pod, or in the child process of `trmctl run`: build, train, evaluate, report."""
