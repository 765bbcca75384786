"""What commands on runs in a cluster show: lists, one screen, curves."""
