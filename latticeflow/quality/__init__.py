"""Is a flow any good? Comparison with an ensemble, coverage of its modes, a verdict."""
