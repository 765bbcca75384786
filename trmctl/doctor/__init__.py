"""Everything a run needs of a cluster, looked at one by one."""
