"""From settings to draws: random streams, samplers, thermalisation, tempering, executors."""
