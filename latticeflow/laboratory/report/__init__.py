"""All targets by all methods: a resumable table and its summary."""
