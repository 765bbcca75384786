"""Run file to Kubernetes objects: pure functions that know no cluster, clock or file."""
