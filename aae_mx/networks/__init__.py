"""The networks as Gluon HybridBlocks, built from arguments; losses, games and noise."""
