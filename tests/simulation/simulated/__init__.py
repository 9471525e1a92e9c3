"""What is simulated: the cluster, the stores, processes and time."""
