"""What `make bench` runs: the console beside its peers and floors, in one interleaved run."""
