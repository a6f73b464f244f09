"""Training of flows: objectives, the critic, the trainer."""
